"""What transposed convolutions save: the course's DCGAN against nets that upsample and convolve at the same sizes.

Not the same function, so nothing to prove: the same maps and the same side after every layer. For each pixel of a map
a transposed 4x4 convolution of stride 2 multiplies 4 pixels of every map before it, upsampling and a 3x3 convolution 9,
a 5x5 convolution 25. How much of that shows as time depends on the order of the numbers in memory; the course's nets
are in channels-last order, where torch's convolutions lose least.
"""
from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gan_step import plain_step
from benchmarks.loops import BATCH, LATENT, Players, Source, Way, by_index, loaded, players
from course_utils.gan import gan_step, gaussian
from course_utils.models.dcgan import DCCritic, DCGenerator, dcgan_init
from course_utils.models.swap import swap
from course_utils.training.optimizers import adam

SHAPE = (1, 32, 32)


# ---- the nets ----------------------------------------------------------------------------------------


def transposed() -> nn.Module:
    """The course's generator."""
    return DCGenerator(LATENT, SHAPE)


def upsampled(size: int) -> nn.Module:
    """The generator with nearest upsampling and a convolution of ``size`` for each transposed one of stride 2."""

    def change(layer: nn.ConvTranspose2d) -> nn.Module:
        if layer.stride == (1, 1):  # the first one, from z
            return layer
        convolution = nn.Conv2d(layer.in_channels, layer.out_channels, size, padding=size // 2, bias=layer.bias is not None)
        return nn.Sequential(nn.Upsample(scale_factor=2), convolution)

    return dcgan_init(swap(transposed(), nn.ConvTranspose2d, change))


def strided() -> nn.Module:
    """The course's critic."""
    return DCCritic(SHAPE)


def pooled() -> nn.Module:
    """The critic with a 3x3 convolution and the mean of every four pixels for each convolution of stride 2."""

    def change(layer: nn.Conv2d) -> nn.Module:
        if layer.stride == (1, 1):  # the last one, to the logit
            return layer
        return nn.Sequential(nn.Conv2d(layer.in_channels, layer.out_channels, 3, padding=1, bias=layer.bias is not None), nn.AvgPool2d(2))

    return dcgan_init(swap(strided(), nn.Conv2d, change))


def by_channel(net: nn.Module) -> nn.Module:
    """``net`` in torch's own order, as programs that don't ask for another one have it."""
    return net.to(memory_format=torch.contiguous_format)


# ---- what is timed -----------------------------------------------------------------------------------


def passes() -> dict[str, Callable[[], None]]:
    """A forward and a backward pass of each generator; the course's comes first."""

    def both_ways(G: nn.Module) -> Callable[[], None]:
        def one() -> None:
            G.zero_grad()
            G(gaussian(BATCH, LATENT)).sum().backward()

        return one

    return {
        "course": both_ways(transposed()),
        "upsampling, 3x3": both_ways(upsampled(3)),
        "upsampling, 3x3, torch's own order": both_ways(by_channel(upsampled(3))),
        "upsampling, 5x5": both_ways(upsampled(5)),
    }


def course_step(p: Players, data: Source, noise: Source) -> None:
    """A step on pictures in [0, 1], which these nets have outside."""
    gan_step(p.G, p.D, p.opt_g, p.opt_d, lambda: (data() + 1) / 2, noise)


def other_step(p: Players, data: Source, noise: Source) -> None:
    """The plain loop's."""
    plain_step(p, lambda: (data() + 1) / 2, noise, reuse=False)


def steps() -> dict[str, Way]:
    """Training steps; the course's comes first."""

    def course(G: Callable[[], nn.Module], D: Callable[[], nn.Module]) -> Way:
        return Way(partial(players, lambda: (G(), D()), adam), by_index, course_step)

    def plain_nets() -> tuple[nn.Module, nn.Module]:
        return by_channel(upsampled(3)), nn.Sequential(by_channel(strided()), nn.Sigmoid(), nn.Unflatten(0, (-1, 1)))

    return {
        "course": course(transposed, strided),
        "upsampling, 3x3, in the plain loop": Way(partial(players, plain_nets, torch.optim.Adam), loaded, other_step),
        "upsampling, 3x3, in the course's loop": course(partial(upsampled, 3), strided),
        "the same, and pooling in D": course(partial(upsampled, 3), pooled),
    }


# At least, with a margin. With 3x3 in the course's order, and for a whole step against the plain loop, it is about twice:
# sometimes more, sometimes less. For a step in the same loop it is less, for D costs the same on both sides.
TWICE_AS_DEAR = ("upsampling, 3x3, torch's own order", "upsampling, 5x5")


def operations(train: Callable[[], None]) -> int:
    """Multiplications and additions of ``train``, in convolutions and matrix products."""
    with FlopCounterMode(display=False) as counter:
        train()
    return counter.get_total_flops()
