"""The fully connected generator and critic that the first picture GANs of this course use."""
from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from course_utils.validate import expect_count


class FCGenerator(nn.Module):
    """z (B, ``latent``) to pictures (B, *shape) in [0, 1]: widening layers, batch norm, LeakyReLU 0.2, sigmoid."""

    def __init__(self, latent: int, shape: Sequence[int], widths: Sequence[int] = (128, 256, 512)) -> None:
        super().__init__()
        expect_count(latent, "latent")
        self.shape = tuple(shape)
        layers: list[nn.Module] = []
        for inputs, outputs in zip((latent, *widths), widths):
            layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.LeakyReLU(0.2)]
        self.net = nn.Sequential(*layers, nn.Linear(widths[-1], math.prod(shape)), nn.Sigmoid())

    def forward(self, z: Tensor) -> Tensor:
        return self.net(z).view(-1, *self.shape)


class FCCritic(nn.Module):
    """Pictures (B, *shape) in [0, 1] to logits (B,): narrowing layers, LeakyReLU 0.2; D(x) is their sigmoid."""

    def __init__(self, shape: Sequence[int], widths: Sequence[int] = (512, 256)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in zip((math.prod(shape), *widths), widths):
            layers += [nn.Linear(inputs, outputs), nn.LeakyReLU(0.2)]
        self.net = nn.Sequential(nn.Flatten(), *layers, nn.Linear(widths[-1], 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(2 * x - 1).squeeze(-1)
