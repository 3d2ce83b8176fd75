"""The smallest change that a quasi-Newton search finds: box-constrained L-BFGS (Szegedy et al. 2013, section 4.1).

Szegedy et al. look for the smallest r with f(x + r) = l and x + r in [0, 1]^m by minimising c |r| + loss(x + r, l) in the
box, for the c at which the minimiser only just reaches l. Here the penalty is c |r|^2: at r = 0, where the search begins,
|r| has no gradient and the curvature that L-BFGS estimates would be infinite. The minimisers are the same ones: where
2 c r + grad loss = 0, also c' r / |r| + grad loss = 0 with c' = 2 c |r|.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from course_utils.attacks.ball import BALLS
from course_utils.attacks.call import (
    Lent, Model, answers, borrowed, cross_entropies, escape_losses, expect_arguments, input_gradient, warn_if_reached,
)
from course_utils.precision import full_precision
from course_utils.validate import expect_count

_ENOUGH = 1e-4  # Armijo: so much of the decrease that the slope promises has to be there
_SHORTEST = 1e-4  # of a step, before the value of c is given up
_LITTLE = 1e-3  # a relative decrease that ends the work on a value of c
_FACTOR = 8.0  # c grows or shrinks by so much until it has been both too large and too small
_HALVINGS = 12  # of the way back to x, at the end
_CLEAR = 1e-4  # of the logits' range: by less, the answer might be another one in a batch of another size


class Found(NamedTuple):
    """What a minimal-norm attack found, one row for each of the N examples.

    ``x_adv``      like x, in [0, 1]; where the attack failed, x itself
    ``success``    (N,) bool: the model was asked about ``x_adv`` and gave the answer that was wanted
    ``distance``   (N,) the L2 length of x_adv - x; NaN where the attack failed, 0 where x gives that answer already
    ``gradients``  (N,) int64: gradients that were computed for each example
    """

    x_adv: Tensor
    success: Tensor
    distance: Tensor
    gradients: Tensor


def lbfgs(
    model: Model, x: Tensor, y: Tensor, *, targeted: bool = True, searches: int = 10, steps: int = 30, memory: int = 6, batch: int = 256,
) -> Found:
    """The nearest example of another class, by minimising c |r|^2 + loss(x + r) with x + r in [0, 1], and a search for c.

    model      (B, ...) in [0, 1] -> logits (B, K); used in eval mode and left as it was
    x, y       examples (N, ...) in [0, 1], and the classes to reach (N,) int64; without ``targeted`` their labels, to get away from
    searches   values of c for each example: by factors of 8 until one is too large and one too small, then halving the way between
    steps      for each value of c, at most
    memory     pairs of a step and a change of the gradient that the curvature is estimated from
    batch      examples at a time: bounds the memory

    The loss is the cross entropy of the class to reach, or, untargeted, of "any class but y": -log(1 - p(y)). Every example
    has a c, a step length and a curvature of its own; one round computes one gradient for each that isn't finished. Of all
    points seen that give the wanted answer the nearest one counts, drawn towards x as far as the answer holds. Under
    autocast the search is in full precision all the same.

    Raises ValueError, naming the argument, for anything else; warns (AttackWarning) of a model that seems to return
    probabilities, and of targets that are answered already.
    """
    expect_arguments(model, x, y, 0, BALLS["l2"], batch)
    for count, name in ((searches, "searches"), (steps, "steps"), (memory, "memory")):
        expect_count(count, name)
    # Neither half precision nor TF32 can tell where a border is.
    with borrowed(model, y=y) as lent, full_precision(), torch.autocast(x.device.type, enabled=False):
        goal = _Goal(lent, x.shape[1:], x.dtype, targeted)
        parts = [_nearest(goal, *part, searches, steps, memory) for part in zip(x.detach().split(batch), y.split(batch))]
    return Found(*(torch.cat(values) for values in zip(*parts)))


@dataclass(frozen=True)
class _Goal:
    """What is to be reached. Examples are flat here, (B, D), and at least float32."""

    model: Lent
    shape: torch.Size
    dtype: torch.dtype
    targeted: bool

    def reached(self, logits: Tensor, y: Tensor) -> Tensor:
        """(B,) bool: the class y stands clearly above all others, or another one above y. A tie is no success."""
        others = logits.scatter(1, y[:, None], -torch.inf).amax(1)
        lead = logits.gather(1, y[:, None]).squeeze(1) - others
        return (lead if self.targeted else -lead) > _CLEAR * (logits.amax(1) - logits.amin(1))

    def losses(self, logits: Tensor, y: Tensor) -> Tensor:
        """(B,) the cross entropy of y, or of all the other classes as one."""
        return cross_entropies(logits, y) if self.targeted else escape_losses(logits, y)

    def look(self, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The logits (B, K), the loss (B,) and its gradient (B, D) at ``z``."""
        gradient, logits = input_gradient(self.model, self.pictures(z), y, self.losses)
        logits = logits.to(z.dtype)
        return logits, self.losses(logits, y), gradient.reshape(z.shape).to(z.dtype)

    def holds(self, z: Tensor, y: Tensor) -> Tensor:
        """(B,) bool: ``reached`` at ``z``, without a gradient."""
        return self.reached(answers(self.model, self.pictures(z)), y)

    def pictures(self, z: Tensor) -> Tensor:
        """``z`` in the shape and dtype that the model is given."""
        return z.view(-1, *self.shape).to(self.dtype)


def _nearest(goal: _Goal, x: Tensor, y: Tensor, searches: int, steps: int, memory: int) -> Found:
    """``lbfgs`` for one batch."""
    start, y = x.flatten(1).to(torch.promote_types(x.dtype, torch.float32), copy=True), y.clone()  # inference_mode's can't be differentiated
    search = _Search(goal, start, y, searches, steps, memory)
    while len(search.rows):
        search.round()
    success = search.size.isfinite()
    best = _drawn_back(goal, start, search.best, y, success)
    success &= goal.holds(best, y)
    best = torch.where(success[:, None], best, start)
    distance = torch.where(success, torch.linalg.vector_norm(best - start, dim=1), torch.nan)
    return Found(goal.pictures(best), success, distance.to(x.dtype), search.gradients)


def _drawn_back(goal: _Goal, start: Tensor, best: Tensor, y: Tensor, success: Tensor) -> Tensor:
    """For each success the point nearest to ``start``, on the line from ``best`` to it, at which the answer still holds."""
    near, far = torch.zeros_like(start[:, :1]), torch.ones_like(start[:, :1])
    at = lambda share: torch.where(share < 1, start + share * (best - start), best).clamp(0, 1)  # noqa: E731
    for _ in range(_HALVINGS if success.any() else 0):
        middle = (near + far) / 2
        holds = goal.holds(at(middle), y)[:, None]
        near, far = torch.where(holds, near, middle), torch.where(holds, middle, far)
    return at(far)


class _Curvature:
    """The last steps of each example and how the loss's gradient changed along them: what tells curvature, and so a direction.

    The penalty's share of the curvature, 2 c, is known, and added when a direction is asked for: what was learnt stays
    true when c changes.
    """

    def __init__(self, start: Tensor, memory: int) -> None:
        self.steps, self.changes = (start.new_zeros(memory, *start.shape) for _ in range(2))
        self.newest = torch.zeros(len(start), dtype=torch.int64, device=start.device)

    def keep(self, rows: Tensor) -> None:
        """Forget all examples but ``rows``."""
        self.steps, self.changes, self.newest = self.steps[:, rows], self.changes[:, rows], self.newest[rows]

    def learn(self, taken: Tensor, step: Tensor, change: Tensor) -> None:
        """Where ``taken`` (B,), ``step`` was, and the loss's gradient changed by ``change`` (B, D); the oldest pair goes."""
        self.newest = torch.where(taken, (self.newest + 1) % len(self.steps), self.newest)
        slots = self.newest, torch.arange(len(taken), device=taken.device)
        self.steps[slots], self.changes[slots] = (
            torch.where(taken[:, None], new, known[slots]) for new, known in ((step, self.steps), (change, self.changes)))

    def direction(self, gradient: Tensor, c: Tensor, free: Tensor) -> Tensor:
        """Downhill, (B, D): L-BFGS's two loops (Nocedal and Wright, algorithm 7.4) among the ``free`` values; the others stay."""
        rows, q, pairs = torch.arange(len(c), device=c.device), gradient * free, []
        scale = 1 / (2 * c)  # the inverse curvature of the penalty alone, until there is a pair
        for age in range(len(self.steps)):
            slot = (self.newest - age) % len(self.steps)
            s = self.steps[slot, rows] * free
            y = self.changes[slot, rows] * free + 2 * c[:, None] * s
            sy, yy = (s * y).sum(1), (y * y).sum(1)
            bends = sy > 1e-6 * scale * yy  # upwards, by more than rounding; an empty pair doesn't
            weight = torch.where(bends, 1 / torch.where(bends, sy, 1), 0)
            if age == 0:
                scale = torch.where(bends, sy / torch.where(bends, yy, 1), scale)
            share = weight * (s * q).sum(1)
            q = q - share[:, None] * y
            pairs.append((s, y, weight, share))
        q = scale[:, None] * q
        for s, y, weight, share in reversed(pairs):
            q = q + (share - weight * (y * q).sum(1))[:, None] * s
        return -q


class _Search:
    """All examples that are still at work. Row i of every tensor of ``_OF_ROWS`` belongs to the example number ``rows[i]``."""

    _OF_ROWS = ("rows", "start", "y", "z", "loss", "slope", "there", "way", "length", "c", "too_small", "too_large", "tried", "taken")

    def __init__(self, goal: _Goal, start: Tensor, y: Tensor, searches: int, steps: int, memory: int) -> None:
        self.goal, self.searches, self.steps = goal, searches, steps
        logits, self.loss, self.slope = goal.look(start, y)
        goal.model.doubt(logits)
        if goal.targeted:
            warn_if_reached(logits, y)
        self.there = goal.reached(logits, y)
        self.rows, self.start, self.y, self.z = torch.arange(len(start), device=start.device), start, y, start.clone()
        # Of every example, finished or not: the nearest success, its |r|^2, the gradients so far.
        self.best, self.gradients = start.clone(), torch.ones_like(self.rows)
        self.size = torch.where(self.there, 0, torch.inf).to(start.dtype)
        # If the margin were a straight line of slope k and length m, the minimiser would be on the border for c = k^2 / (4 m).
        self.c = (self.slope.square().sum(1) / (4 * self.loss)).clamp(1e-12, 1e12)
        self.too_small, self.too_large = torch.zeros_like(self.c), torch.full_like(self.c, torch.inf)
        self.tried, self.taken = torch.zeros_like(self.rows), torch.zeros_like(self.rows)
        self.curvature, self.way, self.length = _Curvature(start, memory), torch.zeros_like(start), torch.ones_like(self.c)
        self._keep(~self.there)
        self._aim(torch.ones_like(self.there))

    def round(self) -> None:
        """One gradient for each example, after which it has taken a step or shortened it; it may then be done with its c."""
        trial = torch.clamp(self.z + self.length[:, None] * self.way, 0, 1)
        logits, loss, slope = self.goal.look(trial, self.y)
        there = self.goal.reached(logits, self.y)
        self.gradients[self.rows] += 1
        self._note(trial, there)

        before, after, step = self._value(self.z, self.loss), self._value(trial, loss), trial - self.z
        promised = (self._downhill() * step).sum(1)  # below 0, of a step downhill
        taken = (promised < 0) & (after <= before + _ENOUGH * promised)
        self.curvature.learn(taken, step, slope - self.slope)
        self.z, self.slope = (torch.where(taken[:, None], *pair) for pair in ((trial, self.z), (slope, self.slope)))
        self.loss, self.there = (torch.where(taken, *pair) for pair in ((loss, self.loss), (there, self.there)))
        self.taken += taken
        # Shortened to the lowest point of the parabola through what is known, to between a tenth and a half.
        lowest = (-promised / (2 * (after - before - promised))).nan_to_num(0.5).clamp(0.1, 0.5)
        self.length = torch.where(taken, 1, self.length * lowest)

        done = torch.where(taken, (before - after <= _LITTLE * before) | (self.taken >= self.steps), (promised >= 0) | (self.length < _SHORTEST))
        self._next_c(done)
        going = ~(done & (self.tried >= self.searches))
        anew = taken | done
        self._aim(anew[self._keep(going)])

    def _value(self, z: Tensor, loss: Tensor) -> Tensor:
        """What is minimised, (B,)."""
        return self.c * (z - self.start).square().sum(1) + loss

    def _downhill(self) -> Tensor:
        """The gradient of what is minimised, (B, D), at ``z``."""
        return 2 * self.c[:, None] * (self.z - self.start) + self.slope

    def _note(self, trial: Tensor, there: Tensor) -> None:
        """Keep ``trial`` (B, D) where it is the nearest success so far."""
        size, known = (trial - self.start).square().sum(1), self.size[self.rows]
        better = there & (size < known)
        self.best[self.rows] = torch.where(better[:, None], trial, self.best[self.rows])
        self.size[self.rows] = torch.where(better, size, known)

    def _next_c(self, done: Tensor) -> None:
        """Another c for the examples that are ``done`` with theirs: larger after a success, smaller after a failure."""
        self.too_small = torch.where(done & self.there, self.c, self.too_small)
        self.too_large = torch.where(done & ~self.there, self.c, self.too_large)
        outwards = torch.where(self.there, self.c * _FACTOR, self.c / _FACTOR)
        between = (self.too_small * self.too_large).sqrt()
        c = torch.where((self.too_small > 0) & self.too_large.isfinite(), between, outwards)
        self.c = torch.where(done, c, self.c)
        self.tried += done
        self.taken, self.length = torch.where(done, 0, self.taken), torch.where(done, 1, self.length)

    def _keep(self, going: Tensor) -> Tensor:
        """Leave the examples that are not ``going`` on; the rows of those that are, (B,): the one read a round."""
        kept = going.nonzero().flatten()
        if len(kept) == len(going):
            return kept
        for name in self._OF_ROWS:
            setattr(self, name, getattr(self, name)[kept])
        self.curvature.keep(kept)
        return kept

    def _aim(self, anew: Tensor) -> None:
        """A new direction for the examples ``anew`` (B,): values that are held by the box stay where they are."""
        downhill = self._downhill()
        held = ((self.z <= 0) & (downhill > 0)) | ((self.z >= 1) & (downhill < 0))
        way = self.curvature.direction(downhill, self.c, (~held).to(downhill.dtype))
        self.way = torch.where(anew[:, None], way, self.way)
