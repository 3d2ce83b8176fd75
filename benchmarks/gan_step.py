"""A training step of a picture GAN: the course's ``gan_step`` against a plain loop that does the same mathematics.

Nets, batch size and optimiser are those of PyTorch-GAN's ``gan.py`` (fully connected, 28x28 pictures).
The plain loop has a sigmoid and BCELoss.
"""
from __future__ import annotations

from functools import partial

import torch
from torch import nn

from benchmarks.loops import LATENT, Players, Source, Way, by_index, loaded, players
from course_utils.gan import gan_step
from course_utils.training.optimizers import adam


def generator() -> nn.Module:
    """z (B, 100) to pictures (B, 1, 28, 28) in [-1, 1]."""
    layers: list[nn.Module] = [nn.Linear(LATENT, 128), nn.LeakyReLU(0.2, inplace=True)]
    for inputs, outputs in ((128, 256), (256, 512), (512, 1024)):
        layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs, eps=0.8), nn.LeakyReLU(0.2, inplace=True)]
    return nn.Sequential(*layers, nn.Linear(1024, 28 * 28), nn.Tanh(), nn.Unflatten(1, (1, 28, 28)))


def critic(end: nn.Module) -> nn.Module:
    """Pictures to what ``end`` makes of the logits (B, 1)."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(28 * 28, 512), nn.LeakyReLU(0.2, inplace=True),
        nn.Linear(512, 256), nn.LeakyReLU(0.2, inplace=True), nn.Linear(256, 1), end)


def nets(end: nn.Module) -> tuple[nn.Module, nn.Module]:
    """G, and D that ends in ``end``."""
    return generator(), critic(end)


def plain_players(dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> Players:
    """D ends in a sigmoid; torch's Adam as it comes."""
    return players(lambda: nets(nn.Sigmoid()), torch.optim.Adam, dtype, device)


def plain_step(p: Players, data: Source, noise: Source, reuse: bool) -> None:
    """D learns from real pictures and from fakes, then G from fakes: the same ones with ``reuse``, else fresh ones."""
    loss, x = nn.BCELoss(), data()
    valid, invalid = x.new_ones(len(x), 1), x.new_zeros(len(x), 1)

    p.opt_d.zero_grad()
    fake = p.G(noise())
    d_loss = loss(p.D(x), valid) + loss(p.D(fake.detach()), invalid)
    d_loss.backward()
    p.opt_d.step()

    p.opt_g.zero_grad()
    if not reuse:
        fake = p.G(noise())
    g_loss = loss(p.D(fake), valid)
    g_loss.backward()
    p.opt_g.step()


def course_players(dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> Players:
    """D ends in logits (B,); Adam in one fused kernel."""
    return players(lambda: nets(nn.Flatten(0)), adam, dtype, device)


def course_step(p: Players, data: Source, noise: Source, reuse: bool) -> None:
    """The same two updates."""
    gan_step(p.G, p.D, p.opt_g, p.opt_d, data, noise, together=True, reuse=reuse)


def ways(reuse: bool) -> dict[str, Way]:
    """What is compared."""
    return {
        "baseline": Way(plain_players, loaded, partial(plain_step, reuse=reuse)),
        "course": Way(course_players, by_index, partial(course_step, reuse=reuse)),
    }
