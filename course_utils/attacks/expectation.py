"""Expectation over transformation: a picture that fools the model however it is turned, lit or noised (Athalye et al. 2018)."""
from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from course_utils.attacks.call import Model, expect_answer, warn_if_probabilities
from course_utils.validate import expect, expect_choice, expect_count, expect_generator

Transform = Callable[[Tensor, torch.Generator | None], Tensor]  # pictures, and where randomness comes from -> pictures

MEANS = ("probabilities", "log probabilities", "logits")


class Expectation(nn.Module):
    """A model that answers with the mean over random transformations of its input. See ``expectation``."""

    def __init__(self, model: Model, transform: Transform, draws: int, mean: str, generator: torch.Generator | None) -> None:
        super().__init__()
        self.net = model if isinstance(model, nn.Module) else None  # to switch modes, move, freeze
        self.model, self.transform, self.draws, self.mean = (model if self.net is None else None), transform, draws, mean
        self.state, self.looked = (None if generator is None else generator.get_state()), False

    def forward(self, x: Tensor) -> Tensor:
        seen = self.seen(x)
        logits = (self.net if self.model is None else self.model)(seen)
        expect_answer(logits, seen)
        if not self.looked:
            warn_if_probabilities(logits)
            self.looked = True
        logits = logits.view(self.draws, len(x), *logits.shape[1:])
        if self.mean == "logits":
            return logits.mean(0)
        if self.mean == "log probabilities":
            return logits.log_softmax(2).mean(0)
        return logits.log_softmax(2).logsumexp(0) - math.log(self.draws)

    def seen(self, x: Tensor) -> Tensor:
        """``x`` transformed ``draws`` times, (draws * B, ...), B after B."""
        if self.state is None:
            return self.transform(x.repeat(self.draws, *[1] * (x.ndim - 1)), None)
        # From the same stream for every picture: what it is drawn must not depend on which others are there.
        each = [self.transform(one.expand(self.draws, *one.shape).clone(), torch.Generator().set_state(self.state)) for one in x]
        return torch.stack(each, dim=1).flatten(0, 1)


def expectation(
    model: Model, transform: Transform, *, draws: int = 16, mean: str = "probabilities", generator: torch.Generator | None = None,
) -> Expectation:
    """``model`` behind random transformations, as one model: its gradient is the mean of the gradients of ``draws`` draws.

    model       (B, ...) in [0, 1] -> logits (B, K); it stays who it is, nothing is copied
    transform   ``transform(x, generator)`` -> pictures, differentiable, drawn anew for every picture; a ``physical.Camera``, say
    draws       transformed pictures for each picture: so many times the memory and the time of one
    mean        what is averaged. 'probabilities': the answer is the log of the mean softmax, as of a classifier that is asked
                again and again. 'log probabilities': the mean of log softmax, which with ``loss=log_losses`` is the
                objective of Athalye et al.. 'logits': the mean of the logits
    generator   on the CPU. None: fresh draws at every call, from torch's global stream, which an attack's own ``generator`` starts and
                puts back. A generator: the same draws for every picture at every call, so that the model is a fixed
                function of each picture; one picture is transformed after the other, which takes longer

    Raises ValueError, naming the argument, for anything else.
    """
    expect(callable(model), "model", "a function of x that returns logits", type(model).__name__)
    expect(callable(transform), "transform", "a function of pictures and a generator", type(transform).__name__)
    expect_count(draws, "draws")
    expect_choice(mean, "mean", MEANS)
    expect_generator(generator)
    return Expectation(model, transform, draws, mean, generator)


def log_losses(logits: Tensor, y: Tensor) -> Tensor:
    """Minus the answer for y, (B,), as it is: for a mean of log probabilities, which no longer add up to 1."""
    return -logits.gather(1, y[:, None]).squeeze(1)
