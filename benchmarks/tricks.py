"""Where the time of a GAN step goes: the plain loop with one thing done in another way."""
from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from benchmarks import gan_step
from benchmarks.loops import Players, Source, Step, Way, by_index, players
from course_utils.gan import frozen
from course_utils.training.optimizers import adam


def changed_step(
    p: Players, data: Source, noise: Source, *,
    no_graph: bool = False, freeze: bool = False, logits: bool = False, together: bool = False,
) -> None:
    """The plain step with fresh fakes where all are False; the same mathematics where one or more are True."""
    loss, x = nn.BCEWithLogitsLoss() if logits else nn.BCELoss(), data()
    valid, invalid = torch.ones(len(x), 1, dtype=x.dtype), torch.zeros(len(x), 1, dtype=x.dtype)

    p.opt_d.zero_grad()
    with torch.no_grad() if no_graph else nullcontext():
        fake = p.G(noise())
    if together:
        on_real, on_fake = p.D(torch.cat([x, fake.detach()])).chunk(2)
    else:
        on_real, on_fake = p.D(x), p.D(fake.detach())
    (loss(on_real, valid) + loss(on_fake, invalid)).backward()
    p.opt_d.step()

    p.opt_g.zero_grad()
    fake = p.G(noise())
    with frozen(p.D) if freeze else nullcontext():
        loss(p.D(fake), valid).backward()
    p.opt_g.step()


def changes() -> dict[str, Way]:
    """The plain loop with one thing changed, all of them the same mathematics."""
    plain = gan_step.ways(reuse=False)["baseline"]

    def with_players(end: nn.Module, optimizer: Callable[..., torch.optim.Optimizer], step: Step = plain.step) -> Way:
        return replace(plain, players=partial(players, lambda: gan_step.nets(end), optimizer), step=step)

    return {
        "batches by index": replace(plain, batches=by_index),
        "Adam in one kernel": with_players(nn.Sigmoid(), adam),
        "D frozen while G learns": replace(plain, step=partial(changed_step, freeze=True)),
        "D's fakes without a graph": replace(plain, step=partial(changed_step, no_graph=True)),
        "loss from logits": with_players(nn.Identity(), torch.optim.Adam, partial(changed_step, logits=True)),
        "D sees real and fake together": replace(plain, step=partial(changed_step, together=True)),
    }


def ways() -> dict[str, Way]:
    """What is timed: the plain loop, each change alone, all of them, and one that is another algorithm: the same
    fakes for both players, where all others make fresh ones for each."""
    fresh, same = gan_step.ways(reuse=False), gan_step.ways(reuse=True)
    return {
        "plain loop": fresh["baseline"], **changes(),
        "all of these changes": fresh["course"], "the same fakes for both": same["baseline"],
    }
