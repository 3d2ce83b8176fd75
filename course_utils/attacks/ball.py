"""The norm balls in which an attack may move: how far, which way is steepest, where to begin.

Each ball has four functions. ``delta`` (N, ...) is what is added to each of N examples; ``eps`` is broadcast over it,
as a number or as a tensor (N, 1, ...).
"""
from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from course_utils.validate import expect


def per_example(values: Tensor, like: Tensor) -> Tensor:
    """(N,) as (N, 1, ...), to go with ``like`` (N, ...)."""
    return values.view(-1, *[1] * (like.ndim - 1))


class MaxNorm:
    """No value changes by more than eps: the max-norm, L-infinity."""

    name = "linf"

    def size(self, delta: Tensor) -> Tensor:
        """The norm of each example's change, (N,)."""
        return delta.flatten(1).abs().amax(1)

    def largest(self, shape: Sequence[int]) -> float:
        """The norm of the longest change within [0, 1] of an example of ``shape``."""
        return 1.0

    def project_(self, delta: Tensor, eps: float | Tensor) -> Tensor:
        """``delta``, overwritten by the nearest change of norm at most eps."""
        return delta.clamp_(min=-eps).clamp_(max=eps)  # one after the other: a third of the time of both at once

    def step(self, gradient: Tensor) -> Tensor:
        """The change of norm 1 that gains most along ``gradient``: its sign. Where that is 0, 0."""
        return gradient.sign()

    def start(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        """A point of the unit ball for each example, uniform, float64 on the CPU."""
        return 2 * torch.rand(*shape, generator=generator, dtype=torch.float64, device="cpu") - 1


class L2:
    """The Euclidean length of the change is at most eps."""

    name = "l2"

    def size(self, delta: Tensor) -> Tensor:
        """The norm of each example's change, (N,)."""
        return torch.linalg.vector_norm(delta.flatten(1), dim=1)

    def largest(self, shape: Sequence[int]) -> float:
        """The norm of the longest change within [0, 1] of an example of ``shape``."""
        return math.sqrt(math.prod(shape))

    def project_(self, delta: Tensor, eps: float | Tensor) -> Tensor:
        """``delta``, overwritten by the nearest change of norm at most eps: shortened where it is longer."""
        size = per_example(self.size(delta), delta)
        return delta.mul_(torch.where(size > eps, eps / size, 1))

    def step(self, gradient: Tensor) -> Tensor:
        """The change of norm 1 that gains most along ``gradient``: its direction. Where that is 0, 0."""
        # Divided by the largest value first: the square of a tiny gradient would vanish.
        largest = per_example(gradient.flatten(1).abs().amax(1), gradient)
        scaled = gradient / torch.where(largest > 0, largest, 1)
        size = per_example(self.size(scaled), gradient)
        return scaled / torch.where(size > 0, size, 1)

    def start(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        """A point of the unit ball for each example, uniform, float64 on the CPU.

        From uniform numbers alone, the last of each row for the radius: torch draws those one after the other, so the
        same generator gives the same points in whatever parts they are drawn.
        """
        count, dimension = shape[0], math.prod(shape[1:])
        uniform = torch.rand(count, dimension + 1, generator=generator, dtype=torch.float64, device="cpu")
        normal = torch.erfinv((2 * uniform[:, :-1] - 1).clamp(-1 + 1e-15, 1 - 1e-15))
        direction = normal / torch.linalg.vector_norm(normal, dim=1, keepdim=True)
        return (direction * uniform[:, -1:] ** (1 / dimension)).view(*shape)


Ball = MaxNorm | L2
BALLS: dict[str, Ball] = {ball.name: ball for ball in (MaxNorm(), L2())}


def ball_of(norm: str) -> Ball:
    """The ball called ``norm``, 'linf' or 'l2'. Raises ValueError for any other name."""
    expect(isinstance(norm, str) and norm in BALLS, "norm", "one of " + ", ".join(BALLS), repr(norm))
    return BALLS[norm]
