"""Two nets that were trained in two ways: did both ways do the same mathematics?"""
from __future__ import annotations

import torch
from torch import nn

TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-2}
"""Largest relative difference that counts as rounding after about 10 steps. It has to leave room in float32: a bias
before batch norm has the gradient 0, and Adam makes whole steps of whatever rounding puts in its place. The proof is
in float64; float32 shows that nothing else goes wrong there."""


def largest_difference(a: nn.Module, b: nn.Module) -> float:
    """The largest difference of two tensors of the same name (weights and statistics), relative to their length."""
    ours, theirs = a.state_dict(), b.state_dict()
    if ours.keys() != theirs.keys():
        raise ValueError(f"b: expected the tensors {', '.join(ours)}, got {', '.join(theirs)}")
    return max(((ours[n].double() - theirs[n].double()).norm() / theirs[n].double().norm()).item() for n in ours)


def expect_same(difference: float, dtype: torch.dtype, what: str) -> str:
    """One line that says the two agree; ArithmeticError when ``difference`` is more than rounding, or NaN."""
    line = f"{what}, {str(dtype).removeprefix('torch.')}: largest relative difference of a tensor {difference:.1e}"
    if not difference <= TOLERANCE[dtype]:
        raise ArithmeticError(f"{line}, more than {TOLERANCE[dtype]:.0e}: not the same mathematics")
    return line
