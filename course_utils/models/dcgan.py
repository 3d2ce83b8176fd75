"""The deep convolutional GAN (Radford et al. 2015): both nets without pooling and without fully connected hidden layers."""
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from course_utils.validate import expect, expect_count


def halvings(shape: Sequence[int]) -> tuple[int, int]:
    """How often a square picture (C, H, W) can be halved to a side of at least 4, and that side: 32 -> (3, 4), 28 -> (2, 7).

    Raises ValueError for pictures that are not square or can't be halved.
    """
    channels, height, side = shape
    expect_count(channels, "shape[0]")
    expect(height == side, "shape", "square pictures (C, H, H)", tuple(shape))
    times = 0
    while side % 2 == 0 and side >= 8:
        side, times = side // 2, times + 1
    expect(times > 0, "shape", "a side of at least 8 that can be halved", tuple(shape))
    return times, side


def dcgan_init(net: nn.Module) -> nn.Module:
    """Draw every weight from N(0, 0.02), scales of batch norm from N(1, 0.02), biases 0 (Radford et al. 2015, section 4).

    Changes ``net`` and returns it, its convolutions in channels-last order: the same numbers, faster.
    """
    for layer in net.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.BatchNorm2d)):
            nn.init.normal_(layer.weight, 1.0 if isinstance(layer, nn.BatchNorm2d) else 0.0, 0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return net.to(memory_format=torch.channels_last)


class DCGenerator(nn.Module):
    """z (B, ``latent``) to pictures (B, *shape) in [0, 1] by fractionally strided convolutions.

    The first layer turns z into maps of the smallest side (4 for 32x32 pictures), each of the next doubles the side and
    halves the maps, down to ``width`` before the last. Batch norm and ReLU after every layer, tanh after the last.
    """

    def __init__(self, latent: int, shape: Sequence[int], width: int = 32) -> None:
        super().__init__()
        expect_count(latent, "latent")
        expect_count(width, "width")
        times, side = halvings(shape)
        maps = [width * 2**i for i in reversed(range(times))]
        layers: list[nn.Module] = [nn.ConvTranspose2d(latent, maps[0], side, bias=False), nn.BatchNorm2d(maps[0]), nn.ReLU()]
        for inputs, outputs in zip(maps, maps[1:]):
            layers += [nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        self.net = nn.Sequential(*layers, nn.ConvTranspose2d(maps[-1], shape[0], 4, stride=2, padding=1), nn.Tanh())
        dcgan_init(self)

    def forward(self, z: Tensor) -> Tensor:
        return (self.net(z[:, :, None, None]) + 1) / 2


class DCCritic(nn.Module):
    """Pictures (B, *shape) in [0, 1] to logits (B,) by strided convolutions, LeakyReLU 0.2; D(x) is their sigmoid.

    Each layer halves the side and doubles the maps, from ``width`` on. Batch norm after every layer but the first and
    the last. ``norm`` takes another layer's constructor instead of batch norm (number of maps -> module), as losses
    that look at every picture by itself want.
    """

    def __init__(self, shape: Sequence[int], width: int = 32, norm=nn.BatchNorm2d) -> None:
        super().__init__()
        expect_count(width, "width")
        times, side = halvings(shape)
        maps = [width * 2**i for i in range(times)]
        layers: list[nn.Module] = [nn.Conv2d(shape[0], maps[0], 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for inputs, outputs in zip(maps, maps[1:]):
            layers += [nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=False), norm(outputs), nn.LeakyReLU(0.2)]
        self.net = nn.Sequential(*layers, nn.Conv2d(maps[-1], 1, side))
        dcgan_init(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(2 * x - 1).flatten()

    def features(self, x: Tensor) -> list[Tensor]:
        """What each hidden layer says of pictures (B, *shape), after its LeakyReLU: maps (B, M, h, w), one tensor a layer."""
        maps, found = 2 * x - 1, []
        for layer in self.net[:-1]:
            maps = layer(maps)
            if isinstance(layer, nn.LeakyReLU):
                found.append(maps)
        return found
