"""Classifiers: pictures (B, C, H, W) in [0, 1] to logits (B, K)."""
from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from course_utils.validate import expect_count


class ConvNet(nn.Module):
    """Two strided convolutions and one hidden layer.

    ``shape`` is (C, H, W) of one picture, H and W at least 4. ``features`` gives the hidden layer (B, width)
    after its ReLU, the space in which the course measures how far apart two sets of pictures lie.
    """

    def __init__(self, shape: Sequence[int], classes: int, width: int = 64) -> None:
        super().__init__()
        channels, height, side = shape
        for value, name, least in ((channels, "C", 1), (height, "H", 4), (side, "W", 4), (classes, "classes", 2), (width, "width", 1)):
            expect_count(value, name, least)
        down = lambda size: (size + 1) // 2  # noqa: E731  what a 3x3 convolution of stride 2, padding 1 leaves
        self.hidden = nn.Sequential(
            nn.Conv2d(channels, 32, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(64 * down(down(height)) * down(down(side)), width), nn.ReLU(),
        )
        self.head = nn.Linear(width, classes)

    def features(self, x: Tensor) -> Tensor:
        """Pictures (B, C, H, W) to hidden values (B, width), at least 0."""
        return self.hidden(x - 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))
