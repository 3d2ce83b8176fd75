"""Nearest neighbours: is a sample new, or a copy of a training picture?"""
from __future__ import annotations

import torch
from torch import Tensor

from course_utils.gan.metrics.precision import in_double
from course_utils.validate import expect


def nearest(samples: Tensor, pool: Tensor, chunk: int = 512) -> tuple[Tensor, Tensor]:
    """Euclidean distance (N,) from each of ``samples`` (N, …) to its nearest in ``pool`` (M, …), and its index (N,).

    Distances are over flattened values, ``chunk`` samples at a time. Raises ValueError when the shapes of one
    sample and one of the pool differ, or the pool is empty.
    """
    expect(len(pool) > 0 and samples.shape[1:] == pool.shape[1:], "pool", f"(M, {tuple(samples.shape[1:])}) with M >= 1", tuple(pool.shape))
    flat = in_double(pool.flatten(1))
    found = [torch.cdist(in_double(part.flatten(1)), flat).min(dim=1) for part in samples.split(chunk)]
    return torch.cat([f.values for f in found]).to(samples.dtype), torch.cat([f.indices for f in found])
