"""The fast gradient sign method (Goodfellow, Shlens and Szegedy 2014) and its L2 form: one step along the gradient."""
from __future__ import annotations

import torch
from torch import Tensor

from course_utils.attacks.ball import ball_of, per_example
from course_utils.attacks.call import (
    Loss, Model, borrowed, cross_entropies, expect_arguments, in_batches, input_gradient, radius, warn_if_reached,
)


def fgsm(
    model: Model, x: Tensor, y: Tensor, *, eps: float | Tensor, norm: str = "linf", targeted: bool = False,
    loss: Loss = cross_entropies, batch: int = 256,
) -> Tensor:
    """x + eps sign(gradient of the loss), clipped to [0, 1]: Goodfellow et al. 2014, section 4. One gradient an example.

    model     (B, ...) in [0, 1] -> logits (B, K); used in eval mode and left as it was
    x, y      examples (N, ...) in [0, 1], and their labels (N,) int64; with ``targeted`` the classes to reach
    eps       how far, in the units of x: a number, or one for each example (N,)
    norm      'linf', or 'l2': eps times the gradient's direction
    loss      ``loss(logits, y)`` -> (B,), what the step raises (lowers, with ``targeted``)
    batch     examples at a time, on a CPU at most 128: bounds the memory, changes nothing else

    Returns examples like ``x``, in [0, 1], detached. Raises ValueError, naming the argument, for anything else; warns
    (AttackWarning) of a model that seems to return probabilities, and of targets that are answered already.
    """
    ball = ball_of(norm)
    expect_arguments(model, x, y, eps, ball, batch)
    sign = -1 if targeted else 1

    def part(x: Tensor, y: Tensor, eps: Tensor) -> Tensor:
        gradient, logits = input_gradient(lent, x, y, loss)
        lent.doubt(logits)
        if targeted:
            warn_if_reached(logits, y)
        return torch.clamp(x + sign * per_example(eps, x) * ball.step(gradient), 0, 1)

    with borrowed(model, y=y) as lent:
        return in_batches(lent, part, batch, x, y, radius(eps, x, ball))
