"""Several small GANs as one ``Stack`` against the same GANs one after the other, with the same ``gan_step``."""
from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from benchmarks.same import largest_difference
from course_utils.data.ring import Ring
from course_utils.gan import gan_step, gaussian
from course_utils.models import Stack, mlp, mlp_critic
from course_utils.training.optimizers import adam

BATCH, LR = 64, 1e-3
RING = Ring()


def nets(runs: int, dtype: torch.dtype = torch.float32) -> list[tuple[nn.Module, nn.Module]]:
    """A generator and a critic for each run; the same weights whenever they are made."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return [(mlp([2, 64, 64, 2]).to(dtype), mlp_critic([2, 64, 64]).to(dtype)) for _ in range(runs)]


def stacked(pairs: Sequence[tuple[nn.Module, nn.Module]]) -> tuple[Stack, Stack]:
    """All generators as one, all critics as one."""
    generators, critics = zip(*pairs)
    return Stack(generators), Stack(critics)


def trainer(G: nn.Module, D: nn.Module) -> Callable[[Callable[[], Tensor], Callable[[], Tensor], int], None]:
    """A function (data, noise, steps) that trains G and D further."""
    opt_g, opt_d = adam(G.parameters(), LR), adam(D.parameters(), LR)

    def train(data: Callable[[], Tensor], noise: Callable[[], Tensor], steps: int) -> None:
        for _ in range(steps):
            gan_step(G, D, opt_g, opt_d, data, noise)

    return train


def contestants(runs: int, steps: int) -> dict[str, Callable[[], None]]:
    """What is timed: ``steps`` steps of each run."""
    alone, together = [trainer(G, D) for G, D in nets(runs)], trainer(*stacked(nets(runs)))

    def one_after_the_other() -> None:
        for train in alone:
            train(lambda: RING.sample(BATCH), lambda: gaussian(BATCH, 2), steps)

    def as_a_stack() -> None:
        together(lambda: RING.sample(runs, BATCH), lambda: gaussian(runs, BATCH, 2), steps)

    return {"baseline": one_after_the_other, "course": as_a_stack}


def difference(runs: int, steps: int, dtype: torch.dtype) -> float:
    """How far the nets of a stack are from the lone ones after ``steps`` steps on the same minibatches; the worst net."""
    stream = torch.Generator().manual_seed(1)
    xs = RING.sample(steps, runs, BATCH, generator=stream).to(dtype)
    zs = torch.randn(2 * steps, runs, BATCH, 2, generator=stream, dtype=dtype)
    G, D = stacked(nets(runs, dtype))
    x, z = iter(xs), iter(zs)
    trainer(G, D)(lambda: next(x), lambda: next(z), steps)
    worst = 0.0
    for run, (g, d) in enumerate(nets(runs, dtype)):
        x, z = iter(xs[:, run]), iter(zs[:, run])
        trainer(g, d)(lambda: next(x), lambda: next(z), steps)
        worst = max(worst, largest_difference(G.net(run), g), largest_difference(D.net(run), d))
    return worst
