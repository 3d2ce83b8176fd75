"""Losses that were meant to smooth a classifier: a small gradient at the input, noise on it, small weights."""
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from course_utils.validate import expect, expect_positive

Model = Callable[[Tensor], Tensor]


def double_backprop(model: Model, x: Tensor, y: Tensor, *, weight: float) -> Tensor:
    """Cross entropy plus ``weight`` times the squared length of its gradient at the input, both in the mean over the batch: ().

    Drucker and LeCun 1992: the gradient at the input is computed by backpropagation, and to lower it backpropagation runs
    through that computation once more. ``model``: (B, ...) -> logits (B, K). Raises ValueError unless ``weight`` is above 0.
    """
    expect_positive(weight, "weight")
    x = x.detach().requires_grad_()
    costs = cross_entropy(model(x), y, reduction="none")
    slope, = torch.autograd.grad(costs.sum(), x, create_graph=True)
    return costs.mean() + weight * slope.flatten(1).square().sum(1).mean()


def noisy(model: Model, x: Tensor, y: Tensor, *, sigma: float) -> Tensor:
    """Cross entropy at pictures with normal noise, new at every call and kept in [0, 1]: ().

    Raises ValueError unless ``sigma``, the standard deviation in the units of x, is above 0.
    """
    expect_positive(sigma, "sigma")
    return cross_entropy(model((x + sigma * torch.randn_like(x)).clamp(0, 1)), y)


def small_weights(model: nn.Module, x: Tensor, y: Tensor, *, weight: float) -> Tensor:
    """Cross entropy plus ``weight`` / 2 times the squared length of all weights (matrices and kernels, no biases): ().

    As a term of the loss, where Adam scales it with everything else. Raises ValueError unless ``weight`` is above 0.
    """
    expect_positive(weight, "weight")
    weights = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    expect(len(weights) > 0, "model", "a module with weights", "none")
    return cross_entropy(model(x), y) + weight / 2 * sum(parameter.square().sum() for parameter in weights)
