"""How a step asks its nets: on copies of what it hands over, and a critic for its answers in one form."""
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from course_utils.validate import expect


def ask(net: Callable[..., Tensor], *inputs: object) -> Tensor:
    """``net(*inputs)`` on copies: a net that normalises its input in place changes nobody's minibatch."""
    return net(*(x.clone() if isinstance(x, Tensor) else x for x in inputs))


def batch_shape(samples: Tensor) -> torch.Size:
    """(B,) of points (B, d) or pictures (B, C, H, W); (runs, B) of points in a stack of runs, (runs, B, d)."""
    return samples.shape[:2] if samples.ndim == 3 else samples.shape[:1]


def in_rows(out: Tensor, samples: Tensor) -> Tensor:
    """A critic's answers for ``samples`` as (B * patches,), or (runs, B * patches): what losses average over.

    Critics answer (B,), (B, 1), (B, 1, 1, 1), or a map of patches (B, 1, h, w); in a stack all that with the runs in
    front. A row of equally many patches for every sample, (B * patches,), stays as it is. Raises ValueError for other
    shapes.
    """
    batch = batch_shape(samples)
    expect(isinstance(out, Tensor), "D", "a torch.Tensor of answers", type(out).__name__)
    row = out.ndim == len(batch) and out.shape[:-1] == batch[:-1] and out.numel() % max(batch.numel(), 1) == 0
    expected = f"an answer or a map of patches for each sample, ({', '.join(map(str, batch))}, …)"
    expect(row or out.shape[: len(batch)] == batch, "D", expected, f"the shape {tuple(out.shape)}")
    return out.flatten(len(batch) - 1)


def critic_output(D: Callable[..., Tensor], samples: Tensor, *conditions: object) -> Tensor:
    """What D says of ``samples`` under its conditions, if it has any, as ``in_rows`` puts it."""
    return in_rows(ask(D, samples, *conditions), samples)
