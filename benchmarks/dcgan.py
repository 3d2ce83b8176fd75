"""A training step of a DCGAN: the course's ``gan_step`` against the plain loop.

Nets, batch size and optimiser are those of PyTorch-GAN's ``dcgan.py`` (convolutions, 32x32 pictures of one channel;
its 0.8 in batch norm is ``eps``). The course keeps its weights in channels-last order, and writes upsampling and the
convolution after it as one transposed convolution.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import conv_transpose2d, pad

from benchmarks.gan_step import plain_step
from benchmarks.loops import LATENT, Players, Source, Way, by_index, loaded, players
from course_utils.data import ImageSet
from course_utils.gan import gan_step
from course_utils.training.optimizers import adam

# How much of each of three taps, side by side, every one of four takes: on doubled pixels, two of three see the same one.
FOUR_FROM_THREE = torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])


def padded(pictures: ImageSet) -> ImageSet:
    """Pictures of 28x28 with two black pixels more on every side."""
    return replace(pictures, images=pad(pictures.images, (2, 2, 2, 2)))


# ---- the nets ----------------------------------------------------------------------------------------


class DoubledConv2d(nn.Conv2d):
    """Nearest upsampling by two and then this 3x3 convolution, in one step: maps (B, C, H, W) to (B, C', 2H, 2W).

    The kernel of 4x4 is made anew from the weights each time, so it is the 3x3 weights that learn.
    """

    def forward(self, x: Tensor) -> Tensor:
        spread = FOUR_FROM_THREE.to(self.weight)
        kernel = torch.einsum("oiyx,ty,ux->iotu", self.weight, spread, spread)
        if self.weight.is_contiguous(memory_format=torch.channels_last):
            kernel = kernel.contiguous(memory_format=torch.channels_last)
        return conv_transpose2d(x, kernel, self.bias, stride=2, padding=1)


def two_layers(inputs: int, outputs: int) -> list[nn.Module]:
    """Upsampling and convolution as they come."""
    return [nn.Upsample(scale_factor=2), nn.Conv2d(inputs, outputs, 3, padding=1)]


def one_layer(inputs: int, outputs: int) -> list[nn.Module]:
    """Both in one, at the place of the second."""
    return [nn.Identity(), DoubledConv2d(inputs, outputs, 3, padding=1)]


def generator(doubling: Callable[[int, int], list[nn.Module]]) -> nn.Module:
    """z (B, 100) to pictures (B, 1, 32, 32) in [-1, 1]."""
    layers: list[nn.Module] = [nn.Linear(LATENT, 128 * 8 * 8), nn.Unflatten(1, (128, 8, 8)), nn.BatchNorm2d(128)]
    for inputs, outputs in ((128, 128), (128, 64)):
        layers += [*doubling(inputs, outputs), nn.BatchNorm2d(outputs, eps=0.8), nn.LeakyReLU(0.2, inplace=True)]
    return nn.Sequential(*layers, nn.Conv2d(64, 1, 3, padding=1), nn.Tanh())


def critic(end: nn.Module) -> nn.Module:
    """Pictures to what ``end`` makes of the logits (B, 1)."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((1, 16), (16, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.LeakyReLU(0.2, inplace=True), nn.Dropout2d(0.25)]
        layers += [nn.BatchNorm2d(outputs, eps=0.8)] if inputs > 1 else []
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * 2 * 2, 1), end)


def weights_init(layer: nn.Module) -> None:
    """Weights of convolutions from N(0, 0.02), of batch norm from N(1, 0.02)."""
    if isinstance(layer, (nn.Conv2d, nn.BatchNorm2d)):
        nn.init.normal_(layer.weight, 1.0 if isinstance(layer, nn.BatchNorm2d) else 0.0, 0.02)


def nets(
    end: Callable[[], nn.Module], doubling: Callable[[int, int], list[nn.Module]], order: torch.memory_format,
) -> tuple[nn.Module, nn.Module]:
    """G and D, their weights in ``order``."""
    return tuple(net.apply(weights_init).to(memory_format=order) for net in (generator(doubling), critic(end())))


# ---- the comparison ----------------------------------------------------------------------------------


def course_step(p: Players, data: Source, noise: Source, reuse: bool) -> None:
    """The same two updates; real and fake apart, as D's batch norm asks."""
    gan_step(p.G, p.D, p.opt_g, p.opt_d, data, noise, reuse=reuse)


def plain(
    reuse: bool, doubling: Callable[[int, int], list[nn.Module]] = two_layers, order: torch.memory_format = torch.contiguous_format,
) -> Way:
    """The plain loop."""
    make = partial(players, partial(nets, nn.Sigmoid, doubling, order), torch.optim.Adam)
    return Way(make, loaded, partial(plain_step, reuse=reuse))


def course(reuse: bool) -> Way:
    """D ends in logits (B,); Adam in one fused kernel."""
    make = partial(players, partial(nets, partial(nn.Flatten, 0), one_layer, torch.channels_last), adam)
    return Way(make, by_index, partial(course_step, reuse=reuse))


def ways(reuse: bool) -> dict[str, Way]:
    """What is compared."""
    return {"baseline": plain(reuse), "course": course(reuse)}


def changes() -> dict[str, Way]:
    """The plain loop, one change alone, another one alone, and all that the course does."""
    return {
        "plain loop": plain(True),
        "channels-last order": plain(True, order=torch.channels_last),
        "upsampling and convolution in one": plain(True, one_layer),
        "all changes": course(True),
    }
