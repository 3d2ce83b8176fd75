"""Add the few features that tell most: the saliency map of Papernot et al. 2015, as Grosse et al. 2016 use it on malware."""
from __future__ import annotations

import torch
from torch import Tensor

from course_utils.attacks.ball import BALLS
from course_utils.attacks.call import (
    Model, borrowed, cross_entropies, escape_losses, expect_arguments, in_batches, input_gradient, warn_if_reached,
)
from course_utils.validate import expect, expect_count


def saliency(
    model: Model, x: Tensor, y: Tensor, *, features: int = 20, allowed: Tensor | None = None, targeted: bool = False, batch: int = 256,
) -> Tensor:
    """Features are added one by one, each time the one that the model's answer depends on most; none is ever taken away.

    model      (B, ...) in [0, 1] -> logits (B, K); used in eval mode and left as it was
    x, y       examples (N, ...) in [0, 1], as a rule of features that are there (1) or not (0), and their labels (N,) int64;
               with ``targeted`` the classes to reach
    features   how many may be added to an example, at most
    allowed    (...) or (N, ...) bool: which features may be added at all; None: all of them
    batch      examples at a time: bounds the memory, changes nothing else

    To add a feature is to set it to 1. As in Grosse et al. the one is taken for which the
    derivative of the wanted class's probability, times what is missing of the feature to 1, is largest and above 0. It is
    the derivative of the probability's logarithm here: one positive factor apart, so the order is the same, but not 0 where
    the model is so sure that the probability's own is lost to rounding. For Papernot et al.'s map for
    raising features, on softmax outputs, the order is the same too: the other classes' derivatives add up to minus the wanted one's.
    An example is left alone as soon as the model gives the wanted answer, and where no feature would help.

    Returns examples like ``x``, detached; one for which ``features`` were not enough keeps those that were added. Raises
    ValueError, naming the argument, for anything else; warns (AttackWarning) of a model that seems to return probabilities,
    and of targets that are answered already.
    """
    expect_arguments(model, x, y, 0, BALLS["linf"], batch)
    expect_count(features, "features")
    free, loss = _free(allowed, x), cross_entropies if targeted else escape_losses  # either way to be lowered

    def part(x: Tensor, y: Tensor, free: Tensor) -> Tensor:
        x, free, rows = x.clone(memory_format=torch.contiguous_format), free.clone(), torch.arange(len(x), device=x.device)
        for added in range(features):
            gradient, logits = input_gradient(lent, x[rows], y[rows], loss)
            if added == 0:
                lent.doubt(logits)
                if targeted:
                    warn_if_reached(logits, y)
            gain = -gradient * (1 - x[rows]) * free[rows]
            most, which = gain.flatten(1).max(1)
            going = ((logits.argmax(1) == y[rows]) != targeted) & (most > 0)
            going = going.nonzero().flatten()  # the one read a step
            if not len(going):
                break
            rows, which = rows[going], which[going]
            x.view(len(x), -1)[rows, which] = 1
        return x

    with borrowed(model, y=y) as lent:
        return in_batches(lent, part, batch, x, y, free)


def _free(allowed: Tensor | None, x: Tensor) -> Tensor:
    """``allowed`` as bool like ``x``. Raises ValueError unless it is one of one example or of all of them."""
    if allowed is None:
        return torch.ones_like(x, dtype=torch.bool)
    fits = isinstance(allowed, Tensor) and allowed.dtype == torch.bool and allowed.shape in (x.shape, x.shape[1:])
    got = f"{allowed.dtype} of the shape {tuple(allowed.shape)}" if isinstance(allowed, Tensor) else type(allowed).__name__
    expect(fits, "allowed", f"None, or a bool tensor of the shape {tuple(x.shape[1:])} or {tuple(x.shape)}", got)
    return allowed.to(x.device).expand_as(x)
