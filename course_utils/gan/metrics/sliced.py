"""Sliced Wasserstein distance: how far apart two clouds of points lie."""
from __future__ import annotations

import torch
from torch import Tensor

from course_utils.validate import expect, expect_count


def sliced_wasserstein(a: Tensor, b: Tensor, *, projections: int = 128, generator: torch.Generator | None = None) -> float:
    """Mean 1-Wasserstein distance of ``a`` and ``b``, both (N, d), over random directions of the unit sphere.

    On a line the Wasserstein distance is the mean gap between the two sorted samples, so each projection
    costs one sort (Rabin et al. 2011; Bonneel et al. 2015, section 4). Same unit as the data, 0 for equal
    clouds. Give the same ``generator`` state to compare distances. Raises ValueError unless both have the
    same shape (N, d) and are finite.
    """
    expect(a.ndim == 2 and a.shape == b.shape, "b", f"the shape (N, d) of a, {tuple(a.shape)}", tuple(b.shape))
    expect(bool(torch.isfinite(a).all() and torch.isfinite(b).all()), "a, b", "finite points", "NaN or inf")
    expect_count(projections, "projections")
    direction = torch.randn(a.shape[1], projections, generator=generator)
    direction = (direction / direction.norm(dim=0)).to(a)
    gaps = (a @ direction).sort(dim=0).values - (b @ direction).sort(dim=0).values
    return gaps.abs().mean().item()
