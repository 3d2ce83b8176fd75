"""Several models attacked as one, so that what fools them all fools a model that nobody has seen (Liu et al. 2016)."""
from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from course_utils.attacks.call import Model, expect_tensor, warn_if_probabilities
from course_utils.validate import expect


class Ensemble(nn.Module):
    """The weighted mean of what several models hold for likely, as one model: (B, ...) in [0, 1] -> log of it, (B, K).

    Cross entropy of these logits is what Liu et al. minimise for an ensemble (without its distance, for which the attack's ball
    stands): -log of (sum of alpha_i softmax_i)(y). See ``ensemble``.
    """

    def __init__(self, models: Sequence[Model], weights: Sequence[float]) -> None:
        super().__init__()
        self.models, self.weights, self.looked = tuple(models), tuple(weights), False
        self.nets = nn.ModuleList(model for model in models if isinstance(model, nn.Module))  # to switch modes, move, freeze

    def forward(self, x: Tensor) -> Tensor:
        answers = [model(x) for model in self.models]
        for answer in answers:
            expect_tensor(answer, "models")
        shapes = [tuple(answer.shape) for answer in answers]
        expect(len(set(shapes)) == 1, "models", "answers of one shape from all of them", ", ".join(map(str, shapes)))
        for answer in () if self.looked else answers:
            warn_if_probabilities(answer)
        self.looked = True
        return torch.stack([answer.log_softmax(1) + math.log(weight) for answer, weight in zip(answers, self.weights)]).logsumexp(0)


def ensemble(models: Sequence[Model], weights: Sequence[float] | None = None) -> Ensemble:
    """``models`` as one model, on which every attack works: its probabilities are the mean of theirs.

    models    functions (B, ...) in [0, 1] -> logits (B, K), all with the same K; they stay who they are, nothing is copied
    weights   the share of each, above 0, together 1; None: all alike

    Raises ValueError for no models, for weights that are not so, and, when called, for answers of different shapes.
    """
    expect(len(models) > 0, "models", "at least one model", "none")
    for model in models:
        expect(callable(model), "models", "functions of x that return logits", type(model).__name__)
    weights = [1 / len(models)] * len(models) if weights is None else [float(weight) for weight in weights]
    expect(len(weights) == len(models), "weights", f"one for each of {len(models)} models", len(weights))
    expect(all(weight > 0 for weight in weights), "weights", "shares above 0", weights)
    expect(abs(sum(weights) - 1) < 1e-6, "weights", "shares that add up to 1", sum(weights))
    return Ensemble(models, weights)
