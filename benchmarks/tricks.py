"""Where the time of a GAN step goes: the plain loop with one thing done in another way."""
from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.gan_step import (
    Noise, Players, by_index, course_players, course_step, loaded, plain_players, plain_step, players, run,
)
from course_utils.data import ImageSet
from course_utils.gan import frozen
from course_utils.training.optimizers import adam


def changed_step(
    p: Players, x: Tensor, noise: Noise, reuse: bool, *,
    no_graph: bool = False, freeze: bool = False, logits: bool = False, together: bool = False,
) -> None:
    """``plain_step`` where all are False; the same mathematics where one or more are True."""
    loss = nn.BCEWithLogitsLoss() if logits else nn.BCELoss()
    valid, invalid = torch.ones(len(x), 1, dtype=x.dtype), torch.zeros(len(x), 1, dtype=x.dtype)

    p.opt_d.zero_grad()
    with torch.no_grad() if no_graph and not reuse else nullcontext():
        fake = p.G(noise())
    if together:
        on_real, on_fake = p.D(torch.cat([x, fake.detach()])).chunk(2)
    else:
        on_real, on_fake = p.D(x), p.D(fake.detach())
    (loss(on_real, valid) + loss(on_fake, invalid)).backward()
    p.opt_d.step()

    p.opt_g.zero_grad()
    if not reuse:
        fake = p.G(noise())
    with frozen(p.D) if freeze else nullcontext():
        loss(p.D(fake), valid).backward()
    p.opt_g.step()


def contestants(pictures: ImageSet, steps: int) -> dict[str, Callable[[], None]]:
    """What is timed: the plain loop, each change alone, all of them, and one that is another algorithm: the same
    fakes for both players, where all others make fresh ones for each."""

    def change(players: Players, **how: bool) -> Callable[[], None]:
        return run(partial(changed_step, **how), players, loaded(pictures), False, steps)

    return {
        "plain loop": run(plain_step, plain_players(), loaded(pictures), False, steps),
        "batches by index": run(plain_step, plain_players(), by_index(pictures), False, steps),
        "Adam in one kernel": run(plain_step, players(nn.Sigmoid(), adam), loaded(pictures), False, steps),
        "D frozen while G learns": change(plain_players(), freeze=True),
        "D's fakes without a graph": change(plain_players(), no_graph=True),
        "loss from logits": change(players(nn.Identity(), torch.optim.Adam), logits=True),
        "D sees real and fake together": change(plain_players(), together=True),
        "all of these changes": run(course_step, course_players(), by_index(pictures), False, steps),
        "the same fakes for both": run(plain_step, plain_players(), loaded(pictures), True, steps),
    }
