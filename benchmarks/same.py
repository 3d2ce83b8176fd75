"""Two nets that were trained in two ways: did both ways do the same mathematics?"""
from __future__ import annotations

import torch
from torch import nn

TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-3}
"""The largest relative difference that counts as rounding after about 10 steps. The proof is in float64, tensor by tensor;
float32 shows that nothing else goes wrong there."""


def largest_difference(a: nn.Module, b: nn.Module) -> float:
    """The largest difference of two tensors of the same name (weights and statistics), relative to their length."""
    ours, theirs = a.state_dict(), b.state_dict()
    if ours.keys() != theirs.keys():
        raise ValueError(f"b: expected the tensors {', '.join(ours)}, got {', '.join(theirs)}")
    return max(((ours[n].double() - theirs[n].double()).norm() / theirs[n].double().norm()).item() for n in ours)


def overall_difference(a: nn.Module, b: nn.Module) -> float:
    """The difference of all parameters together, relative to their length. For float32: where a gradient is 0 but for
    rounding, as of a bias before batch norm, Adam still makes whole steps, and single small tensors end far apart."""
    ours, theirs = (torch.cat([p.detach().double().flatten() for p in net.parameters()]) for net in (a, b))
    return ((ours - theirs).norm() / theirs.norm()).item()


def expect_same(difference: float, dtype: torch.dtype, what: str) -> str:
    """One line that says the two agree; ArithmeticError when ``difference`` is more than rounding, or NaN."""
    line = f"{what}, {str(dtype).removeprefix('torch.')}: relative difference {difference:.1e}"
    if not difference <= TOLERANCE[dtype]:
        raise ArithmeticError(f"{line}, more than {TOLERANCE[dtype]:.0e}: not the same mathematics")
    return line
