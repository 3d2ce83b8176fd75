"""PatchGAN: a critic that judges every patch of a picture by itself (Isola et al. 2017, section 3.2.2), and how large a patch is."""
from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from course_utils.models.dcgan import dcgan_init
from course_utils.validate import expect, expect_count


class PatchCritic(nn.Module):
    """Pictures (B, C, H, W) in [0, 1] to one logit for each patch: (B * h * w,), all patches of the minibatch in one row.

    A patch is a sample like any other, so the losses of ``gan.losses`` (means over the last axis) and all steps take
    the row as it is. ``judge`` gives the same logits as a map (B, h, w). Several arguments are joined along the channels:
    ``D(condition, picture)``; ``channels`` counts them all.

    ``layers`` 4x4 convolutions of stride 2 double the maps from ``width`` on (up to eight times), one more of stride 1 doubles
    them again, the last of stride 1 gives the logits; LeakyReLU 0.2. The side of a patch is 16 for one layer, 34 for two, 70
    for three (the paper's C64-C128-C256-C512). ``layers=0`` is the paper's PixelGAN, of 1x1 convolutions. The smallest picture
    has the side 3 * 2**layers. ``norm`` (number of maps -> module) stands after every convolution but the first and the last.
    ``nn.InstanceNorm2d`` normalises each picture by itself, and through its means shows every patch a little of all others;
    with ``nn.Identity`` nothing does.
    """

    def __init__(self, channels: int, width: int = 64, layers: int = 3, norm: Callable[[int], nn.Module] = nn.BatchNorm2d) -> None:
        super().__init__()
        expect_count(channels, "channels")
        expect_count(width, "width")
        expect_count(layers, "layers", at_least=0)
        size, padding = (4, 1) if layers else (1, 0)
        maps = [channels, *(width * min(2**i, 8) for i in range(layers + 1 if layers else 2))]
        net: list[nn.Module] = []
        for i, (inputs, outputs) in enumerate(zip(maps, maps[1:])):
            net += [nn.Conv2d(inputs, outputs, size, stride=2 if i < layers else 1, padding=padding)]
            net += [norm(outputs)] * (i > 0) + [nn.LeakyReLU(0.2)]
        self.net = nn.Sequential(*net, nn.Conv2d(maps[-1], 1, size, padding=padding))
        dcgan_init(self)

    def judge(self, *pictures: Tensor) -> Tensor:
        """Pictures, each (B, c, H, W), joined along the channels, to logits (B, h, w): a place on the map is a patch."""
        return self.net(2 * torch.cat(pictures, dim=1) - 1).squeeze(1)

    def forward(self, *pictures: Tensor) -> Tensor:
        return self.judge(*pictures).flatten()


def receptive_field(net: nn.Module) -> int:
    """The side of the square of input pixels that one output can see, by the sizes of the convolutions.

    From the last layer to the first, r = (r - 1) * stride + size, starting at 1: an output of the layer sees ``size`` pixels,
    and each further one adds ``stride``. ``net`` holds one chain of square ``nn.Conv2d``; other layers have to be elementwise.
    Raises ValueError where there is no convolution, or one that is not square.
    """
    convolutions = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d)]
    expect(len(convolutions) > 0, "net", "at least one nn.Conv2d", type(net).__name__)
    side = 1
    for layer in reversed(convolutions):
        square = all(len(set(pair)) == 1 for pair in (layer.kernel_size, layer.stride, layer.dilation))
        expect(square, "net", "square convolutions", repr(layer))
        side = (side - 1) * layer.stride[0] + layer.dilation[0] * (layer.kernel_size[0] - 1) + 1
    return side


def footprint(critic: PatchCritic, size: int) -> Tensor:
    """How much each pixel of a ``size`` x ``size`` picture moves the logit of the middle patch: |gradient|, (size, size) float64.

    Measured on a copy in double precision and eval mode, in which batch norm keeps the pixels apart. The picture is noise;
    the gradients of the channels are added up. Random numbers are drawn from a stream of its own.
    """
    expect_count(size, "size")
    critic = copy.deepcopy(critic).cpu().double().eval()
    channels = critic.net[0].in_channels
    stream = torch.Generator("cpu").manual_seed(0)
    picture = torch.rand(1, channels, size, size, generator=stream, dtype=torch.float64, device="cpu").requires_grad_()
    with torch.enable_grad():
        logits = critic.judge(picture)[0]
        middle = logits[logits.shape[0] // 2, logits.shape[1] // 2]
        gradient, = torch.autograd.grad(middle, picture)
    return gradient[0].abs().sum(dim=0)


def measured_receptive_field(critic: PatchCritic, size: int) -> int:
    """The side of the patch that moves the middle logit, from gradients on a ``size`` x ``size`` picture.

    Raises ValueError where the patch reaches the picture's border, and so could be larger than what was seen of it.
    """
    seen = footprint(critic, size) > 0
    places = [seen.any(dim=axis).nonzero().flatten() for axis in (0, 1)]
    sides = [int(p[-1] - p[0]) + 1 for p in places]
    inside = all(p[0] > 0 and p[-1] < size - 1 for p in places)
    expect(inside, "size", "a picture larger than the patch", f"{size}, of which {sides[0]} are seen")
    return max(sides)
