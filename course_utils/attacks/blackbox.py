"""An unknown model, asked: a substitute that learns from its answers (Papernot et al. 2017, "Practical black-box attacks")."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from course_utils import runtime
from course_utils.attacks.call import borrowed, in_batches, input_gradient
from course_utils.attacks.expectation import log_losses
from course_utils.data.imageset import ImageSet
from course_utils.training import fit
from course_utils.validate import expect, expect_count, expect_images, expect_labels, expect_positive

Model = Callable[[Tensor], Tensor]
Ask = Callable[[Tensor], Tensor]                      # pictures (N, C, H, W) -> labels (N,), one query a picture
Augment = Callable[[Model, Tensor, Tensor, float], Tensor]  # model, x, labels, step -> as many new pictures


def along_the_label(model: Model, x: Tensor, labels: Tensor, step: float = 0.1, *, batch: int = 256) -> Tensor:
    """x + step · sign of the gradient of the logit of ``labels``, clipped to [0, 1]: Jacobian-based augmentation, section 4.

    Where the substitute's answer changes fastest its border will be found soonest: the new pictures ask the oracle there.
    ``step`` may be negative. ``model`` is left as it was. Raises ValueError, naming the argument, for bad pictures or labels.
    """
    expect_images(x, "x")
    expect_labels(labels, None, len(x))

    def part(x: Tensor, labels: Tensor) -> Tensor:
        gradient, _ = input_gradient(lent, x, labels, log_losses)
        return (x - step * gradient.sign()).clamp(0, 1)

    with borrowed(model, y=labels, labels="labels") as lent:
        return in_batches(lent, part, batch, x, labels)


def at_random(model: Model, x: Tensor, labels: Tensor, step: float = 0.1) -> Tensor:
    """The control: a step of the same size for every value, up or down by chance (from torch's global stream)."""
    signs = torch.randint(0, 2, x.shape, device=x.device).to(x.dtype) * 2 - 1
    return (x.detach() + step * signs).clamp(0, 1)


@dataclass(frozen=True)
class Round:
    """What the attacker has after a round: the ``model`` trained on all ``images`` and the oracle's ``labels``, one query each."""

    number: int
    model: nn.Module
    images: Tensor
    labels: Tensor

    @property
    def queries(self) -> int:
        """How many pictures the oracle was asked about so far."""
        return len(self.images)


def substitute(
    ask: Ask, make: Callable[[], nn.Module], seeds: Tensor, classes: int, *, rounds: int, limit: int, step: float = 0.1, period: int = 1,
    epochs: int = 10, batch: int = 32, lr: float = 1e-3, augment: Augment = along_the_label, device: torch.device | str | None = None,
) -> Iterator[Round]:
    """Train substitutes of a model that only answers: algorithm 1 of Papernot et al. 2017; yields one Round after the other.

    Every round asks about the new pictures, trains a fresh ``make()`` on all pictures so far, and doubles them: ``augment``
    gives for every picture a new one near it. So after ``rounds`` rounds len(seeds) · 2^(rounds - 1) queries are spent.

    ask      pictures (N, C, H, W) -> labels (N,) int64, 0 … classes-1
    seeds    the pictures (N, C, H, W) in [0, 1] that the attacker begins with
    limit    queries at most: a round that would need more takes as many new pictures, at random, as are left; when none is
             left the rounds are over
    step     of the augmentation (lambda); its sign changes every ``period`` rounds, as in section 5.2 of the paper
    epochs, batch, lr, device    of ``training.fit``

    Raises ValueError, naming the argument, before anything is asked; and when the oracle answers otherwise than it should.
    """
    for value, name in ((rounds, "rounds"), (limit, "limit"), (period, "period"), (epochs, "epochs"), (batch, "batch")):
        expect_count(value, name)
    expect_count(classes, "classes", 2)
    expect_images(seeds, "seeds")
    expect(len(seeds) <= limit, "seeds", f"at most {limit} pictures, the limit of queries", len(seeds))
    expect_positive(step, "step")
    return _rounds(ask, make, seeds.detach(), classes, rounds, limit, step, period, augment,
                   dict(epochs=epochs, batch=min(batch, len(seeds)), lr=lr, device=device, progress=False))


def _rounds(ask, make, new, classes, rounds, limit, step, period, augment, how) -> Iterator[Round]:
    images, labels = new[:0], torch.empty(0, dtype=torch.int64, device=new.device)
    names, rows = tuple(map(str, range(classes))), runtime.generator("queries")
    for number in range(rounds):
        answers = ask(new)
        expect_labels(answers, classes, len(new), "the oracle's answers")
        images, labels = torch.cat([images, new]), torch.cat([labels, answers.to(new.device)])
        model = make()
        fit(model, ImageSet(images, labels, names, "queries"), **how)
        yield Round(number, model, images, labels)
        left = limit - len(images)
        if not left or number == rounds - 1:
            return
        sign = 1 if number // period % 2 == 0 else -1
        where = next(model.parameters(), images).device  # training may have taken the model there
        new = augment(model, images.to(where), labels.to(where), sign * step).to(images.device)
        if len(new) > left:
            new = new[torch.randperm(len(new), generator=rows, device="cpu")[:left].to(new.device)]
