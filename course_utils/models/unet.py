"""U-Net (Ronneberger et al. 2015) as the generator of pix2pix (Isola et al. 2017, section 3.2.1): picture to picture."""
from __future__ import annotations

import torch
from torch import Tensor, nn

from course_utils.data.drawn.filters import LUMA
from course_utils.models.dcgan import dcgan_init
from course_utils.validate import expect, expect_count


class UNet(nn.Module):
    """Pictures (B, ``inputs``, H, W) in [0, 1] to pictures (B, ``outputs``, H, W) in [0, 1], H and W multiples of 2**depth.

    ``depth`` 4x4 convolutions of stride 2 halve the side and double the maps, from ``width`` on (up to eight times); as many
    transposed ones go back up. Each layer on the way up also gets what the layer of its size on the way down gave: where an
    edge lies need not pass through the bottleneck. Batch norm but at the ends, LeakyReLU 0.2 down, ReLU up, tanh at the end.

    There is no z: the noise of pix2pix is ``dropout``, the share of maps after the innermost layer up that are set to 0 in
    train mode. (The paper found that its generators make little of any noise; 0, the default, leaves it out.) Raises ValueError for pictures that can't be halved so often.
    """

    def __init__(self, inputs: int, outputs: int, width: int = 32, depth: int = 4, dropout: float = 0.0) -> None:
        super().__init__()
        for value, name in ((inputs, "inputs"), (outputs, "outputs"), (width, "width"), (depth, "depth")):
            expect_count(value, name)
        expect(0 <= dropout < 1, "dropout", "a share from 0 to below 1", dropout)
        maps = [width * min(2**i, 8) for i in range(depth)]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for i, (before, after) in enumerate(zip([inputs, *maps], maps)):
            inner = 0 < i < depth - 1
            layer = [nn.Conv2d(before, after, 4, stride=2, padding=1), *[nn.BatchNorm2d(after)] * inner, nn.LeakyReLU(0.2)]
            self.down.append(nn.Sequential(*layer))
        for i in reversed(range(depth)):
            before = maps[i] * (1 if i == depth - 1 else 2)  # the innermost has no partner
            after = maps[i - 1] if i else outputs
            layer = [nn.ConvTranspose2d(before, after, 4, stride=2, padding=1)]
            layer += [nn.BatchNorm2d(after), nn.ReLU()] if i else [nn.Tanh()]
            self.up.append(nn.Sequential(*layer, *[nn.Dropout2d(dropout)] * (dropout > 0 and i == depth - 1 and i > 0)))
        dcgan_init(self)

    def forward(self, x: Tensor) -> Tensor:
        times = 2 ** len(self.down)
        expect(all(side % times == 0 for side in x.shape[2:]), "x", f"sides that {times} divides", f"the shape {tuple(x.shape)}")
        x, kept = 2 * x - 1, []
        for layer in self.down:
            x = layer(x)
            kept.append(x)
        x = kept.pop()
        for layer in self.up:
            x = layer(x)
            if kept:
                x = torch.cat([x, kept.pop()], dim=1)
        return (x + 1) / 2


class Colouring(nn.Module):
    """Grey pictures (B, 1, H, W) in [0, 1] to pictures in colour (B, 3, H, W) in [0, 1] of the same brightness.

    A U-Net proposes a picture; of it only the colour is taken, of the grey picture the brightness: ``recolour``.
    """

    def __init__(self, width: int = 32, depth: int = 4, dropout: float = 0.0) -> None:
        super().__init__()
        self.net = UNet(1, 3, width, depth, dropout)

    def forward(self, grey: Tensor) -> Tensor:
        return recolour(self.net(grey), grey)


def recolour(colours: Tensor, grey: Tensor) -> Tensor:
    """The colour of ``colours`` (B, 3, H, W) with the luma of ``grey`` (B, 1, H, W), cut off at 0 and 1: (B, 3, H, W).

    Colour is what is left of a picture when its luma is taken from each channel (``data.drawn.grey``).
    """
    red, green, blue = colours.split(1, dim=1)
    luma = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue  # a tensor of LUMA would be copied to the GPU each time
    return (grey + colours - luma).clamp(0, 1)
