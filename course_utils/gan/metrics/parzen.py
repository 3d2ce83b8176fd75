"""Parzen window: a density made from samples, for models that have none of their own."""
from __future__ import annotations

import math

import torch
from torch import Tensor

from course_utils.gan.metrics.precision import in_double
from course_utils.validate import expect, expect_positive


def parzen_log_likelihood(points: Tensor, samples: Tensor, bandwidth: float, chunk: int = 256) -> Tensor:
    """log p of each of ``points`` (N, …) in nats, (N,), under Gaussians of width ``bandwidth`` on ``samples`` (M, …).

    ``p(x) = 1/M sum_i N(x; sample_i, bandwidth^2 I)`` over flattened values (Goodfellow et al. 2014, section 5;
    Breuleux et al. 2011). Raises ValueError for a bandwidth not above 0 or shapes that don't match.
    """
    expect_positive(bandwidth, "bandwidth")
    expect(len(samples) > 0 and points.shape[1:] == samples.shape[1:], "samples", f"(M, {tuple(points.shape[1:])})", tuple(samples.shape))
    centres = in_double(samples.flatten(1))
    constant = math.log(len(centres)) + centres.shape[1] * math.log(bandwidth * math.sqrt(2 * math.pi))
    exponents = (-torch.cdist(in_double(part.flatten(1)), centres).square() / (2 * bandwidth**2) for part in points.split(chunk))
    return torch.cat([e.logsumexp(dim=1) for e in exponents]) - constant
