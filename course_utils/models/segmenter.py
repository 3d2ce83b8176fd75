"""Which pixels belong to the object: a small net with short cuts between equal sizes (after Ronneberger et al. 2015)."""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from course_utils.validate import expect_count


class Segmenter(nn.Module):
    """Pictures (B, C, H, W) in [0, 1] to one logit a pixel (B, 1, H, W): above 0 where the object is. H and W divisible by 4."""

    def __init__(self, channels: int = 3, width: int = 12) -> None:
        super().__init__()
        expect_count(channels, "channels")
        expect_count(width, "width")
        self.to_two = nn.Sequential(nn.Conv2d(channels, width, 4, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.to_four = nn.Sequential(
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1), nn.BatchNorm2d(2 * width), nn.ReLU(),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1), nn.BatchNorm2d(2 * width), nn.ReLU(),
        )
        self.from_four = nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1)
        self.from_two = nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1)
        self.last = nn.Conv2d(width + channels, 1, 5, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        x = x - 0.5
        two = self.to_two(x)
        up = torch.cat([relu(self.from_four(self.to_four(two))), two], dim=1)
        return self.last(torch.cat([relu(self.from_two(up)), x], dim=1))
