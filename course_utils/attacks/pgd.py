"""Many small steps inside a norm ball: projected gradient descent (Madry et al. 2017) and its forerunners (Kurakin et al. 2016)."""
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from course_utils import runtime
from course_utils.attacks.ball import Ball, ball_of, per_example
from course_utils.attacks.call import (
    Lent, Loss, Model, answers, borrowed, cross_entropies, expect_arguments, in_batches, input_gradient, radius, warn_if_reached,
)
from course_utils.validate import expect, expect_count, expect_generator


def pgd(
    model: Model, x: Tensor, y: Tensor, *, eps: float | Tensor, norm: str = "linf", steps: int = 40, step_size: float | Tensor | None = None,
    targeted: bool = False, random_start: bool = True, restarts: int = 1, early_stop: bool = False, loss: Loss = cross_entropies,
    generator: torch.Generator | None = None, batch: int = 256,
) -> Tensor:
    """Projected gradient descent: from a random point of the ball, steps along the gradient, each brought back into the ball.

    model       (B, ...) in [0, 1] -> logits (B, K); used in eval mode and left as it was
    x, y        examples (N, ...) in [0, 1], and their labels (N,) int64; with ``targeted`` the classes to reach
    eps         the radius of the ball ``norm`` ('linf' or 'l2'), in the units of x: a number, or one for each example (N,)
    step_size   of each of the ``steps``, a number or (N,); 2.5 eps / steps when None (Madry et al.: far enough to cross the ball)
    restarts    from so many random points, drawn at once; the one that fools the model is kept, among several that do or don't the one of highest loss
    early_stop  leave an example as soon as the model is fooled by it: the same success in a fraction of the time, but no
                further from the border than it has to be (so not for confidences, nor to train on)
    loss        ``loss(logits, y)`` -> (B,), what the steps raise (lower, with ``targeted``)
    generator   on the CPU, of the random starts; None: the same stream for every call, from COURSE_SEED
    batch       examples at a time, on a CPU at most 128: bounds the memory, changes nothing else

    Returns examples like ``x``, in [0, 1], detached. Raises ValueError, naming the argument, for anything else; warns
    (AttackWarning) of a model that seems to return probabilities, and of targets that are answered already.
    """
    return _in_steps(
        model, x, y, 2.5, eps=eps, norm=norm, steps=steps, step_size=step_size, targeted=targeted, random_start=random_start,
        restarts=restarts, early_stop=early_stop, loss=loss, generator=generator, batch=batch)


def _in_steps(
    model: Model, x: Tensor, y: Tensor, usual: float, *, eps: float | Tensor, norm: str, steps: int, step_size: float | Tensor | None,
    targeted: bool, random_start: bool, restarts: int, early_stop: bool, loss: Loss, generator: torch.Generator | None, batch: int,
) -> Tensor:
    """``pgd``, with ``usual`` times eps as the length of all steps together where no ``step_size`` is given."""
    ball = ball_of(norm)
    expect_arguments(model, x, y, eps, ball, batch)
    expect_count(steps, "steps")
    expect_count(restarts, "restarts")
    expect(restarts == 1 or random_start, "restarts", "1 without a random start: every one would end alike", restarts)
    expect_generator(generator)
    reach = radius(eps, x, ball)
    stride = usual * reach / steps if step_size is None else radius(step_size, x, ball, "step_size")
    generator = generator or runtime.generator("attack")
    starts = (_starts(x, ball, generator, restarts, batch),) if random_start else ()

    def part(x: Tensor, y: Tensor, eps: Tensor, stride: Tensor, *starts: Tensor) -> Tensor:
        starts = [per_example(eps, x) * one for one in starts[0].unbind(1)] if random_start else [torch.zeros_like(x)]
        if targeted:
            warn_if_reached(answers(lent, x), y)
        return _Climber(lent, ball, loss, steps, targeted, early_stop).best(x, y, eps, stride, starts)

    with borrowed(model, generator, y=y) as lent:
        return in_batches(lent, part, batch, x, y, reach, stride, *starts)


def iterated(
    model: Model, x: Tensor, y: Tensor, *, eps: float | Tensor, norm: str = "linf", steps: int = 10, step_size: float | Tensor | None = None,
    targeted: bool = False, early_stop: bool = False, loss: Loss = cross_entropies, batch: int = 256,
) -> Tensor:
    """The basic iterative method (Kurakin et al. 2016, section 2.2): small steps from x itself, clipped to the ball and to [0, 1].

    ``step_size`` None: 1.25 eps / steps (the paper's 1.25 eps steps of size 1). Everything else as in ``pgd``, which begins
    at a random point instead.
    """
    return _in_steps(
        model, x, y, 1.25, eps=eps, norm=norm, steps=steps, step_size=step_size, targeted=targeted, random_start=False, restarts=1,
        early_stop=early_stop, loss=loss, generator=None, batch=batch)


def least_likely(
    model: Model, x: Tensor, y: Tensor | None = None, *, eps: float | Tensor, norm: str = "linf", steps: int = 10,
    step_size: float | Tensor | None = None, early_stop: bool = False, batch: int = 256,
) -> Tensor:
    """``iterated`` towards the class that the model holds for the least likely at x (Kurakin et al. 2016, section 2.3).

    No label has a say in it: ``y`` is there to be called as the other attacks are, and is not looked at.
    """
    ball = ball_of(norm)
    expect_arguments(model, x, None, eps, ball, batch)
    with borrowed(model) as lent:
        target = torch.cat([answers(lent, part).argmin(1) for part in x.split(batch)])
    return iterated(model, x, target, eps=eps, norm=norm, steps=steps, step_size=step_size, targeted=True, early_stop=early_stop, batch=batch)


def _starts(x: Tensor, ball: Ball, generator: torch.Generator, restarts: int, batch: int) -> Tensor:
    """For each example ``restarts`` random points of the unit ball, drawn one after the other and moved at once: (N, restarts, ...)."""
    points = [ball.start((len(part) * restarts, *x.shape[1:]), generator).to(x.dtype) for part in x.split(batch)]
    return torch.cat(points).view(len(x), restarts, *x.shape[1:]).to(x.device)


@dataclass(frozen=True)
class _Climber:
    """The steps of one attack: what they use, and how many there are."""

    model: Lent
    ball: Ball
    loss: Loss
    steps: int
    targeted: bool
    early_stop: bool

    @property
    def sign(self) -> int:
        """1 to raise the loss, -1 to lower it."""
        return -1 if self.targeted else 1

    def fooled(self, logits: Tensor, y: Tensor) -> Tensor:
        """(B,) bool: the target is reached, or the answer is not the label."""
        return (logits.argmax(1) == y) == self.targeted

    def climb(self, x: Tensor, y: Tensor, eps: Tensor, stride: Tensor, start: Tensor) -> Tensor:
        """From x + ``start``, all steps; with ``early_stop`` an example stays where the model is first fooled by it."""
        eps, stride = per_example(eps, x), self.sign * per_example(stride, x)
        adv = torch.clamp(x + start, 0, 1)
        found, rows = torch.empty_like(x), torch.arange(len(x), device=x.device)
        for step in range(self.steps):
            gradient, logits = input_gradient(self.model, adv, y, self.loss)
            if step == 0:
                self.model.doubt(logits)
                # In memory like the gradient from here on: steps across two orders of it take three times as long.
                x, adv = (torch.empty_like(gradient).copy_(values) for values in (x, adv))
            if self.early_stop and len(standing := (~self.fooled(logits, y)).nonzero().flatten()) < len(x):  # the one read a step
                found[rows] = adv  # those that still stand will be written again
                x, y, eps, stride, adv, gradient, rows = (values.index_select(0, standing) for values in (x, y, eps, stride, adv, gradient, rows))
                if not len(x):
                    break
            change = self.ball.step(gradient).mul_(stride).add_(adv).sub_(x)  # in place: new memory at every step takes time
            adv = self.ball.project_(change, eps).add_(x).clamp_(0, 1)
        found[rows] = adv
        return found

    def best(self, x: Tensor, y: Tensor, eps: Tensor, stride: Tensor, starts: list[Tensor]) -> Tensor:
        """The best of all starts for each example; with ``early_stop`` those that fool the model already sit the others out."""
        best = self.climb(x, y, eps, stride, starts[0])
        if len(starts) == 1:
            return best
        fooled, height = self.judge(best, y)
        for start in starts[1:]:
            rows = (~fooled).nonzero().flatten() if self.early_stop else torch.arange(len(x), device=x.device)
            if not len(rows):
                break
            found = self.climb(*(values[rows] for values in (x, y, eps, stride, start)))
            now, high = self.judge(found, y[rows])
            better = (now & ~fooled[rows]) | ((now == fooled[rows]) & (high > height[rows]))
            best[rows] = torch.where(per_example(better, x), found, best[rows])
            fooled[rows], height[rows] = torch.where(better, now, fooled[rows]), torch.where(better, high, height[rows])
        return best

    def judge(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Whether the model is fooled by each example, and the loss as the attack wants it: higher is better."""
        logits = answers(self.model, x)
        return self.fooled(logits, y), self.sign * self.loss(logits, y)
