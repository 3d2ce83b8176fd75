"""Five small nets that have little in common but their task: to see what an attack on some of them does to another."""
from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from course_utils.models.classifier import ConvNet
from course_utils.models.layered import Shift
from course_utils.models.mlp import mlp
from course_utils.validate import expect_count


class _Residual(nn.Module):
    """x + what two convolutions make of it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.inner(x)).relu()


def family(shape: Sequence[int], classes: int) -> dict[str, nn.Module]:
    """Untrained classifiers of pictures (B, *shape) in [0, 1], by name; H and W at least 8.

    ``strided`` (two strided convolutions), ``pooled`` (convolutions and max-pooling), ``residual`` (bridges over pairs of
    convolutions), ``dense`` (every pixel to every unit), ``wide`` (one layer of large kernels, tanh).
    """
    channels, height, width = shape
    for value, name, least in ((channels, "C", 1), (height, "H", 8), (width, "W", 8), (classes, "classes", 2)):
        expect_count(value, name, least)

    def half(size: int, times: int) -> int:
        return half((size + 1) // 2, times - 1) if times else size

    pooled = 24 * (half(height, 1) // 4) * (half(width, 1) // 4)
    return {
        "strided": ConvNet(shape, classes),
        "pooled": nn.Sequential(
            Shift(), nn.Conv2d(channels, 12, 5, stride=2, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(12, 24, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(pooled, 64), nn.ReLU(), nn.Linear(64, classes)),
        "residual": nn.Sequential(
            Shift(), nn.Conv2d(channels, 12, 5, stride=2, padding=2), nn.ReLU(), _Residual(12), _Residual(12),
            nn.Conv2d(12, 24, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(24 * half(height, 2) * half(width, 2), classes)),
        "dense": nn.Sequential(Shift(), nn.Flatten(), mlp([channels * height * width, 128, 128, classes])),
        "wide": nn.Sequential(
            Shift(), nn.Conv2d(channels, 32, 8, stride=4, padding=2), nn.Tanh(), nn.Flatten(),
            nn.Linear(32 * (height // 4) * (width // 4), 64), nn.Tanh(), nn.Linear(64, classes)),
    }
