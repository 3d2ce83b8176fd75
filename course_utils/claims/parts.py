"""One measured figure held against one limit."""
from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real

import numpy as np

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
    number = float(number)
    return f"{number:.0f}" if number.is_integer() and abs(number) < 1e6 else f"{number:.3g}"


def _number(name: str, measured: object) -> float:
    """``measured`` (a number, or a tensor or array of one) as a float; bools and longer tensors are refused.

    A float32 becomes the decimal that it stands for: 95 of 100 is 0.95, not 0.949999988, and meets a limit of 0.95.
    """
    try:
        value = measured.item() if hasattr(measured, "item") else measured
    except (ValueError, RuntimeError):  # more than one element, or none
        value = None
    expect(isinstance(value, Real) and not isinstance(value, bool), name, "one number", repr(measured))
    single = str(getattr(measured, "dtype", "")) in ("torch.float32", "float32")
    return float(str(np.float32(value))) if single else float(value)


def _limit(name: str, limit: object) -> float:
    """``limit`` as a float; NaN and infinity are refused, nothing or everything would hold."""
    value = _number(f"limit of {name}", limit)
    expect(math.isfinite(value), f"limit of {name}", "a finite number", repr(limit))
    return value


def at_most(name: str, measured: float, limit: float) -> Part:
    """Holds when ``measured`` is at most ``limit``; NaN and infinity never hold."""
    value, limit = _number(name, measured), _limit(name, limit)
    return Part(name, value, f"at most {show(limit)}", math.isfinite(value) and value <= limit)


def at_least(name: str, measured: float, limit: float) -> Part:
    """Holds when ``measured`` is at least ``limit``; NaN and infinity never hold."""
    value, limit = _number(name, measured), _limit(name, limit)
    return Part(name, value, f"at least {show(limit)}", math.isfinite(value) and value >= limit)


def is_true(name: str, measured: bool) -> Part:
    """Holds when ``measured`` is True (a bool: a truthy number is refused)."""
    expect(isinstance(measured, bool), name, "True or False", repr(measured))
    return Part(name, measured, "must hold", measured)
