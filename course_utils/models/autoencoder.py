"""The auto-encoder that BEGAN uses as its critic, and a generator of the same kind: ELU, no batch norm."""
from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from course_utils.models.dcgan import halvings
from course_utils.models.mlp import mlp
from course_utils.validate import expect_count


class FCAutoEncoder(nn.Module):
    """Pictures (B, *shape) in [0, 1] to pictures (B, *shape) in [0, 1], through a bottleneck of ``code`` numbers."""

    def __init__(self, shape: Sequence[int], code: int = 8, width: int = 64) -> None:
        super().__init__()
        size = math.prod(shape)
        self.shape = tuple(shape)
        self.net = nn.Sequential(nn.Flatten(), mlp([size, width, code, width, size], nn.ELU), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).view(-1, *self.shape)


class ELUGenerator(nn.Module):
    """z (B, ``latent``) to pictures (B, *shape) in [0, 1] by transposed convolutions, ELU between them, sigmoid at the end.

    The sizes are those of ``DCGenerator``; without batch norm every picture depends on its own z alone, and torch's
    usual initial weights are large enough for different z to give different pictures from the start.
    """

    def __init__(self, latent: int, shape: Sequence[int], width: int = 16) -> None:
        super().__init__()
        expect_count(latent, "latent")
        expect_count(width, "width")
        times, side = halvings(shape)
        maps = [width * 2**i for i in reversed(range(times))]
        layers: list[nn.Module] = [nn.ConvTranspose2d(latent, maps[0], side), nn.ELU()]
        for inputs, outputs in zip(maps, maps[1:]):
            layers += [nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1), nn.ELU()]
        layers += [nn.ConvTranspose2d(maps[-1], shape[0], 4, stride=2, padding=1), nn.Sigmoid()]
        self.net = nn.Sequential(*layers).to(memory_format=torch.channels_last)

    def forward(self, z: Tensor) -> Tensor:
        return self.net(z[:, :, None, None])
