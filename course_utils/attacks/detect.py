"""Is a figure of robustness to be trusted? What a model shows when its gradients mislead, not its pictures resist.

The signs are those of Athalye, Carlini and Wagner 2018 (section 3.1) and Carlini et al. 2019: one step beats many, noise or
another model's examples beat the gradient, a larger epsilon does not help, an epsilon without bounds does not reach everything.
"""
from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from course_utils import runtime
from course_utils.attacks.ball import Ball, ball_of, per_example
from course_utils.attacks.call import (
    AttackWarning, Model, answers, borrowed, cross_entropies, expect_arguments, input_gradient, looks_like_probabilities, radius,
)
from course_utils.attacks.expectation import log_losses
from course_utils.attacks.fgsm import fgsm
from course_utils.attacks.pgd import pgd
from course_utils.validate import expect, expect_count, expect_generator

_NOISES = 8  # random changes of each example
_SHARES = (0.25, 0.5, 1.0, 2.0)  # of eps, at which the loss has to rise
_FEW = 0.02  # so large a share of the examples may go either way by chance
_SAME = 1e-4  # of the logits' range: two answers that differ by more are not the same


class DoubtWarning(AttackWarning):
    """A figure of robustness is not to be trusted; the message says why."""


@dataclass(frozen=True)
class Doubts:
    """What speaks against trusting gradient attacks on a model.

    ``reasons``  a sentence for each doubt, by its name; empty when there is none
    ``figures``  what was measured, by its name: shares of examples in [0, 1], mean losses
    """

    reasons: dict[str, str]
    figures: dict[str, float]

    def __bool__(self) -> bool:
        return bool(self.reasons)

    def __str__(self) -> str:
        if not self:
            return "no doubts"
        return "\n".join(f"{name}: {reason}" for name, reason in self.reasons.items())


def doubts(
    model: Model, x: Tensor, y: Tensor, *, eps: float, norm: str = "linf", steps: int = 40, source: Model | None = None,
    generator: torch.Generator | None = None, batch: int = 256,
) -> Doubts:
    """Look for the signs that PGD's success on ``model`` says nothing about it, and warn (DoubtWarning) of each in words.

    model      (B, ...) in [0, 1] -> logits (B, K); used in eval mode and left as it was
    x, y       examples (N, ...) in [0, 1], a hundred or so, and their labels (N,) int64
    eps        the radius, of the ball ``norm``, at which robustness was measured: a number above 0
    steps      of PGD
    source     another model of the same classes, trained apart: its adversarial examples should not do better than the model's own
    generator  on the CPU, of all that is random; None: the same stream for every call, from COURSE_SEED

    The doubts, by name: 'probabilities' (instead of logits), 'random' (two answers to the same picture differ), 'no gradient',
    'noise', 'one step', 'transfer' (each fools the model where PGD does not), 'epsilon' (the loss does not rise with it),
    'no bound' (even with the whole box to move in, examples hold out). Raises ValueError, naming the argument, for bad input.
    """
    ball = ball_of(norm)
    expect_arguments(model, x, y, eps, ball, batch)
    expect(isinstance(eps, (int, float)) and eps > 0, "eps", "a number above 0", eps)
    expect_count(steps, "steps")
    expect(source is None or callable(source), "source", "None, or a model", type(source).__name__)
    expect_generator(generator)
    looking = _Looking(model, x.detach(), y, eps, ball, steps, source, generator or runtime.generator("doubts"), batch)
    reasons, figures = {}, {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AttackWarning)  # the same in other words, again and again
        for look in (looking.at_answers, looking.at_gradients, looking.at_rivals, looking.at_epsilon):
            for name, reason in look(figures):
                reasons[name] = reason
    for name, reason in reasons.items():
        warnings.warn(f"{name}: {reason}", DoubtWarning, stacklevel=2)
    return Doubts(reasons, figures)


Found = Iterator[tuple[str, str]]  # names of doubts, and why


@dataclass
class _Looking:
    """Everything that is looked at. Each method puts what it measures into ``figures`` and gives the doubts."""

    model: Model
    x: Tensor
    y: Tensor
    eps: float
    ball: Ball
    steps: int
    source: Model | None
    generator: torch.Generator
    batch: int
    random: bool = False  # whether two answers to the same picture differ

    def at_answers(self, figures: dict[str, float]) -> Found:
        """Probabilities for logits; two answers to the same picture that differ."""
        first, second = self.logits(self.x), self.logits(self.x)
        likely = looks_like_probabilities(first)
        figures["answers all in [0, 1]"] = float(likely)
        if likely:
            yield "probabilities", ("the answers all lie in [0, 1]: probabilities, it seems, of a softmax or of sigmoids, where attacks need "
                                    "logits. Near 0 and 1 a probability is flat, and an attack finds no way though there may be one")
        spread = (first.amax(1) - first.amin(1)).clamp_min(torch.finfo(first.dtype).tiny)
        changed = _share((first - second).abs().amax(1) > _SAME * spread)
        figures["answers that change"] = changed
        self.random = changed > 0
        if self.random:
            yield "random", (f"{_percent(changed)} of the pictures are answered differently when asked twice: one gradient is one draw. "
                             "Attack the mean of many (expectation) and count over many answers")

    def at_gradients(self, figures: dict[str, float]) -> Found:
        """Pictures whose gradient is 0 everywhere."""
        flat, logit_flat = (self.without_gradient(loss) for loss in (cross_entropies, log_losses))
        figures["pictures without gradient"], figures["pictures without gradient of their logit"] = flat, logit_flat
        if flat >= _FEW:
            why = ("the logits are so far apart that rounding leaves the cross entropy flat; the logits themselves still have a slope, "
                   "so attack with a loss on these" if flat - logit_flat >= _FEW else "some step of the model has no slope (rounding, "
                   "comparing, a saturated unit); attack a smooth stand-in for it, or by transfer")
            yield "no gradient", f"for {_percent(flat)} of the pictures the gradient is 0 everywhere: {why}"

    def at_rivals(self, figures: dict[str, float]) -> Found:
        """Noise, one step and transfer, each against PGD: which examples do they fool the model on where PGD doesn't?"""
        how = {"eps": self.eps, "norm": self.ball.name, "batch": self.batch}
        own = self.fooled(self.climb(self.model, self.eps))
        figures["fooled by PGD"] = _share(own)
        noises = 1 if self.random else _NOISES  # such a model is fooled by asking often enough
        noisy = torch.stack([self.fooled(self.noise()) for _ in range(noises)]).any(0)
        rivals = {"noise": (noisy, f"one of {noises} random changes as long as PGD's fools"),
                  "one step": (self.fooled(fgsm(self.model, self.x, self.y, **how)), "a single step fools")}
        if self.source is not None:
            rivals["transfer"] = self.fooled(self.climb(self.source, self.eps)), "the examples of another model fool"
        for name, (theirs, what) in rivals.items():
            figures[f"fooled by {name}"] = _share(theirs)
            missed = _share(theirs & ~own)
            if self.random:  # chance decides which: only the numbers tell
                missed = max(0.0, missed - _share(own & ~theirs))
            figures[f"fooled by {name}, not by PGD"] = missed
            if missed >= _FEW and missed > 1 / len(self.x):
                yield name, (f"{what} the model on {_percent(missed)} of the pictures where PGD with {self.steps} steps does not: "
                             "the gradient does not lead to what is there")

    def at_epsilon(self, figures: dict[str, float]) -> Found:
        """The loss that PGD reaches, for more and more room; and the share that is fooled with all the room there is."""
        most = self.ball.largest(self.x.shape[1:])
        radii = [0.0] + [min(share * self.eps, most) for share in _SHARES]
        losses = [cross_entropies(self.logits(self.climb(self.model, eps)), self.y).cpu().double().mean().item() for eps in radii]  # not every device has float64
        for eps, loss in zip(radii, losses):
            figures[f"loss at {eps:.3g}"] = loss
        falls = [a for a, b, low, high in zip(radii, radii[1:], losses, losses[1:]) if b > a and high < 0.99 * low]
        if falls or losses[-1] < 1.1 * losses[0] + 1e-6:
            reached = ", ".join(f"{loss:.3g} at {eps:.3g}" for eps, loss in zip(radii, losses))
            yield "epsilon", f"with more room PGD should reach a higher loss, but it reaches {reached}"
        everywhere = _share(self.fooled(self.climb(self.model, most)))
        figures["fooled without a bound"] = everywhere
        if everywhere < 1 - max(_FEW, 1 / len(self.x)):
            yield "no bound", (f"with the whole box to move in PGD still fails on {_percent(1 - everywhere)} of the pictures, where "
                               "another picture altogether would do")

    def logits(self, x: Tensor) -> Tensor:
        with borrowed(self.model, self.stream(), y=self.y) as lent, torch.no_grad():
            return torch.cat([answers(lent, part) for part in x.split(self.batch)])

    def stream(self) -> torch.Generator:
        """Another stream at every call, from the one given."""
        return torch.Generator().manual_seed(int(torch.randint(2**62, (1,), generator=self.generator, device="cpu")))

    def fooled(self, x: Tensor) -> Tensor:
        """(N,) bool."""
        return self.logits(x).argmax(1) != self.y

    def climb(self, model: Model, eps: float) -> Tensor:
        """PGD on ``model``."""
        return pgd(model, self.x, self.y, eps=eps, norm=self.ball.name, steps=self.steps, generator=self.stream(), batch=self.batch)

    def noise(self) -> Tensor:
        """A random change of norm eps, before it is clipped: a corner of the max-norm's ball, a point of the sphere."""
        direction = torch.randn(self.x.shape, generator=self.generator, dtype=torch.float64, device="cpu").to(self.x.dtype).to(self.x.device)
        return (self.x + per_example(radius(self.eps, self.x, self.ball), self.x) * self.ball.step(direction)).clamp(0, 1)

    def without_gradient(self, loss) -> float:
        """The share of examples at which the gradient of ``loss`` is exactly 0."""
        with borrowed(self.model, self.stream(), y=self.y) as lent:
            parts = zip(self.x.split(self.batch), self.y.split(self.batch))
            flat = torch.cat([(input_gradient(lent, part.clone(), labels.clone(), loss)[0].flatten(1) == 0).all(1) for part, labels in parts])
        return _share(flat)


def _share(rows: Tensor) -> float:
    """Of ``rows`` (N,) bool, how many are true: counted, for not every device has float64."""
    return rows.sum().item() / len(rows)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
