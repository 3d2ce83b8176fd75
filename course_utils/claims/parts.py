"""One measured figure held against one limit."""
from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from course_utils.validate import expect


@dataclass(frozen=True)
class Part:
    """A figure with its name, what it is held against in words, and whether that holds."""

    name: str
    measured: float | bool
    held_against: str
    holds: bool

    def __str__(self) -> str:
        figure = ("yes" if self.measured else "no") if isinstance(self.measured, bool) else show(self.measured)
        return f"{self.name} {figure} ({self.held_against})"


def show(number: float) -> str:
    """A figure as people read it: three digits, whole numbers in full."""
    return f"{number:.0f}" if float(number).is_integer() and abs(number) < 1e6 else f"{number:.3g}"


def _number(name: str, measured: object) -> float:
    """``measured`` (a number, or a tensor or array of one) as a float; bools and longer tensors are refused."""
    expect(not isinstance(measured, (bool, str)), name, "a number", repr(measured))
    try:
        return float(measured.detach() if isinstance(measured, Tensor) else measured)
    except (TypeError, ValueError, RuntimeError) as reason:
        raise ValueError(f"{name}: expected one number, got {measured!r}") from reason


def at_most(name: str, measured: float, limit: float) -> Part:
    """Holds when ``measured`` is at most ``limit``; NaN and infinity never hold."""
    value = _number(name, measured)
    return Part(name, value, f"at most {show(limit)}", math.isfinite(value) and value <= limit)


def at_least(name: str, measured: float, limit: float) -> Part:
    """Holds when ``measured`` is at least ``limit``; NaN and infinity never hold."""
    value = _number(name, measured)
    return Part(name, value, f"at least {show(limit)}", math.isfinite(value) and value >= limit)


def is_true(name: str, measured: bool) -> Part:
    """Holds when ``measured`` is True (a bool: a truthy number is refused)."""
    expect(isinstance(measured, bool), name, "True or False", repr(measured))
    return Part(name, measured, "must hold", measured)
