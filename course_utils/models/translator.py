"""The generator of a CycleGAN (Zhu et al. 2017, section 7.1), small enough for 32x32 pictures: a picture in, a picture out."""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from course_utils.validate import expect_count


def instance_norm(maps: int) -> nn.GroupNorm:
    """Instance norm with a scale and a shift for each map (Ulyanov et al. 2016): every map of every picture on its own.

    A group norm with one map a group is the same function as ``nn.InstanceNorm2d(maps, affine=True)``, and has a kernel of
    its own on the CPU.
    """
    return nn.GroupNorm(maps, maps)


class Residual(nn.Module):
    """x + f(x) (He et al. 2016), f two 3x3 convolutions that keep the size, the second without ReLU behind it."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.change = nn.Sequential(
            nn.Conv2d(maps, maps, 3, padding=1, bias=False), instance_norm(maps), nn.ReLU(),
            nn.Conv2d(maps, maps, 3, padding=1, bias=False), instance_norm(maps),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.change(x)


class Translator(nn.Module):
    """Pictures (B, C, H, W) in [0, 1] to pictures of the same shape in [0, 1]; H and W even.

    One strided convolution to half the side and ``width`` maps, ``blocks`` residual blocks there, a transposed convolution
    back to the full side. The last convolution, 5x5 with tanh behind it, sees these maps beside the picture itself: what may
    stay as it is need not be redrawn. (The paper goes down to a quarter of the side, with 6 or 9 blocks and no such short cut.)
    Weights begin as N(0, 0.02), as there, with 1 added where the last convolution sees each channel of the picture in its own
    place: at first a translation is nearly the picture itself, colours a little paler. No latent z: the input is all that the
    output depends on.
    """

    def __init__(self, channels: int = 3, width: int = 16, blocks: int = 2) -> None:
        super().__init__()
        expect_count(channels, "channels")
        expect_count(width, "width", at_least=2)
        expect_count(blocks, "blocks")
        self.inner = nn.Sequential(
            nn.Conv2d(channels, width, 4, stride=2, padding=1), instance_norm(width), nn.ReLU(),
            *(Residual(width) for _ in range(blocks)),
            nn.ConvTranspose2d(width, width // 2, 4, stride=2, padding=1),
        )
        self.last = nn.Conv2d(width // 2 + channels, channels, 5, padding=2)
        for layer in self.modules():
            if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.normal_(layer.weight, 0.0, 0.02)
        with torch.no_grad():
            for channel in range(channels):
                self.last.weight[channel, width // 2 + channel, 2, 2] += 1

    def forward(self, x: Tensor) -> Tensor:
        x = 2 * x - 1
        seen = torch.cat([relu(self.inner(x)), x], dim=1)
        return (torch.tanh(self.last(seen)) + 1) / 2
