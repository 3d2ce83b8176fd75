"""What keeps a Wasserstein critic from growing without bound: clipped weights, or a penalty on its gradient.

Both need more than the critic's output, so they are no part of a ``GANLoss``: a penalty needs the samples, clipping
the weights after each step. ``gan_step(..., penalty=GradientPenalty())`` and ``clip_after_each_step(opt_d, 0.01)``.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from course_utils.gan.call import ask, batch_shape, in_rows
from course_utils.gan.losses import batch_mean
from course_utils.validate import expect, expect_positive

Critic = Callable[[Tensor], Tensor]  # samples -> one answer each, in any form that gan.call.in_rows takes


def between(real: Tensor, fake: Tensor) -> Tensor:
    """A random point on the line from each of ``real`` to the one of ``fake`` at its side, detached.

    Points (B, d), points of a stack of runs (runs, B, d), or pictures (B, C, H, W); the shape stays. Raises ValueError
    when the shapes differ.
    """
    expect(real.shape == fake.shape, "fake", f"the shape of real, {tuple(real.shape)}", tuple(fake.shape))
    batch = batch_shape(real)
    share = torch.rand(*batch, *[1] * (real.ndim - len(batch)), device=real.device, dtype=real.dtype)
    return torch.lerp(real.detach(), fake.detach(), share)


def gradient_norm(D: Critic, x: Tensor, *, create_graph: bool = False) -> Tensor:
    """How steep D is at each of ``x``: Euclidean length of its gradient, (B,) or (runs, B).

    A differentiable D is 1-Lipschitz (|D(a) - D(b)| <= |a - b|) exactly when this is at most 1 everywhere. D has to look at
    every sample by itself, so no batch norm. Of a map of patches it is the gradient of their mean. ``create_graph`` makes
    the lengths themselves differentiable. Raises ValueError for a D whose answers don't fit ``x``.
    """
    x, batch = x.detach().requires_grad_(), batch_shape(x)
    with torch.enable_grad():
        out = in_rows(ask(D, x), x)
        patches = out.numel() // batch.numel()
        slope, = torch.autograd.grad(out.sum() / patches, x, create_graph=create_graph)
    return slope.flatten(len(batch)).norm(dim=-1)


@dataclass(frozen=True)
class GradientPenalty:
    """``weight * (|grad D| - 1)^2`` on random points between real and fake (Gulrajani et al. 2017, algorithm 1).

    Called as ``penalty(D, real, fake)`` with samples as ``between`` takes them; gives the mean over the batch, summed
    over the runs of a stack: a scalar to add to the critic's loss. The paper's weight is 10. Raises ValueError unless
    ``weight`` is above 0, and for shapes that differ.
    """

    weight: float = 10.0

    def __post_init__(self) -> None:
        expect_positive(self.weight, "weight")

    def __call__(self, D: Critic, real: Tensor, fake: Tensor) -> Tensor:
        length = gradient_norm(D, between(real, fake), create_graph=True)
        return self.weight * batch_mean((length - 1).square())


@torch.no_grad()
def clip_weights(parameters, limit: float) -> None:
    """Cut every weight into [-limit, limit], in place (Arjovsky et al. 2017, algorithm 1, line 7; there 0.01)."""
    expect_positive(limit, "limit")
    for weight in parameters:
        weight.clamp_(-limit, limit)


def clip_after_each_step(optimizer: torch.optim.Optimizer, limit: float) -> torch.optim.Optimizer:
    """Have ``optimizer`` clip its weights to [-limit, limit] now and after each of its steps; returns it."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    clip_weights(weights, limit)
    optimizer.register_step_post_hook(lambda *_: clip_weights(weights, limit))
    return optimizer
