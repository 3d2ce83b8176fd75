"""A generator step of a WGAN with gradient penalty, its five critic steps included: ``gan_step`` against a plain loop.

Nets, batch size, optimiser, the number of critic steps and the weight of the penalty are those of PyTorch-GAN's
``wgan_gp.py`` (the fully connected nets of its ``gan.py``, without the sigmoid).
"""
from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.gan_step import nets
from benchmarks.loops import Players, Source, Way, by_index, loaded, players
from course_utils.gan import gan_step
from course_utils.gan.losses import WASSERSTEIN
from course_utils.gan.penalty import GradientPenalty
from course_utils.training.optimizers import adam

CRITIC_STEPS, WEIGHT = 5, 10.0


def plain_penalty(D: nn.Module, x: Tensor, fake: Tensor) -> Tensor:
    """How far D's slope is from 1 at points between real and fake pictures: a mean of squares."""
    share = torch.rand(len(x), 1, 1, 1, dtype=x.dtype, device=x.device)
    between = (share * fake + (1 - share) * x).requires_grad_(True)
    on_between = D(between)
    slopes = torch.autograd.grad(
        on_between, between, grad_outputs=torch.ones_like(on_between), create_graph=True, retain_graph=True)[0]
    return ((slopes.view(len(x), -1).norm(2, dim=1) - 1) ** 2).mean()


def plain_step(p: Players, data: Source, noise: Source, graph: bool = True) -> None:
    """As PyTorch-GAN does it: the critic's fakes have a ``graph``, so its gradient goes on into G, for nothing."""
    for _ in range(CRITIC_STEPS):
        x = data()
        p.opt_d.zero_grad()
        with torch.set_grad_enabled(graph):
            fake = p.G(noise())
        on_real, on_fake = p.D(x), p.D(fake)
        penalty = plain_penalty(p.D, x.data, fake.data)
        d_loss = -torch.mean(on_real) + torch.mean(on_fake) + WEIGHT * penalty
        d_loss.backward()
        p.opt_d.step()

    p.opt_g.zero_grad()
    g_loss = -torch.mean(p.D(p.G(noise())))
    g_loss.backward()
    p.opt_g.step()


def course_step(p: Players, data: Source, noise: Source) -> None:
    """The same six updates."""
    gan_step(p.G, p.D, p.opt_g, p.opt_d, data, noise, k=CRITIC_STEPS, loss=WASSERSTEIN, penalty=GradientPenalty(WEIGHT), together=True)


def ways() -> dict[str, Way]:
    """What is compared."""
    return {
        "baseline": Way(partial(players, lambda: nets(nn.Identity()), torch.optim.Adam), loaded, plain_step),
        "course": Way(partial(players, lambda: nets(nn.Flatten(0)), adam), by_index, course_step),
    }


def changes() -> dict[str, Way]:
    """The plain loop, one change alone, and all that the course does."""
    plain, course = ways().values()
    without = replace(plain, step=partial(plain_step, graph=False))
    return {"plain loop": plain, "the critic's fakes without a graph": without, "all changes": course}
