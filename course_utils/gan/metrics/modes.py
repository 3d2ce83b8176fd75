"""Modes covered: how many of the known centres a generator reaches."""
from __future__ import annotations

import torch
from torch import Tensor

from course_utils.validate import expect, expect_positive


def mode_counts(samples: Tensor, centres: Tensor, std: float) -> Tensor:
    """Samples within 3 ``std`` of their nearest centre, counted per centre: (N, d), (modes, d) -> (modes,) int64."""
    expect(samples.ndim == 2 and samples.shape[1] == centres.shape[1], "samples", f"(N, {centres.shape[1]})", tuple(samples.shape))
    expect_positive(std, "std")
    distance, nearest = torch.cdist(samples, centres.to(samples)).min(dim=1)
    return torch.bincount(nearest[distance <= 3 * std], minlength=len(centres))


def modes_covered(samples: Tensor, centres: Tensor, std: float, share: float = 0.25) -> int:
    """How many centres get at least ``share`` of their equal part of the samples (all modes weigh the same).

    Stricter than counting a mode for a single sample near it, as is usual (Srivastava et al. 2017, VEEGAN).
    """
    return int((mode_counts(samples, centres, std) >= share * len(samples) / len(centres)).sum())
