"""Double precision, for differences of large numbers."""
from __future__ import annotations

from torch import Tensor


def in_double(values: Tensor) -> Tensor:
    """``values`` as float64, on the CPU where their device has no such numbers (Apple's MPS)."""
    return (values.cpu() if values.device.type == "mps" else values).double()
