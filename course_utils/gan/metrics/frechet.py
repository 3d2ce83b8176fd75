"""Fréchet distance of two clouds of features, each taken as one Gaussian."""
from __future__ import annotations

import torch
from torch import Tensor

from course_utils.gan.metrics.precision import in_double
from course_utils.validate import expect


def _mean_and_covariance(features: Tensor, name: str) -> tuple[Tensor, Tensor]:
    expect(features.ndim == 2 and len(features) >= 2, name, "the shape (N, d) with N >= 2", tuple(features.shape))
    expect(bool(torch.isfinite(features).all()), name, "finite features", "NaN or inf")
    features = in_double(features.detach())
    return features.mean(dim=0), torch.atleast_2d(torch.cov(features.T))


def _root(matrix: Tensor) -> Tensor:
    """Square root of a symmetric positive semi-definite matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Squared Fréchet distance of the Gaussians fitted to ``a`` (N, d) and ``b`` (M, d).

    ``|m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a^(1/2) S_b S_a^(1/2))^(1/2))`` (Dowson and Landau 1982; as a score
    for generators Heusel et al. 2017, equation 6). At least 0, and 0 for equal means and covariances. It is
    biased upwards for few samples: compare only figures from equally many. Raises ValueError for shapes that
    don't match or values that are not finite.
    """
    (mean_a, cov_a), (mean_b, cov_b) = _mean_and_covariance(a, "a"), _mean_and_covariance(b, "b")
    expect(mean_a.shape == mean_b.shape, "b", f"{len(mean_a)} features, as in a", len(mean_b))
    root = _root(cov_a)
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0).sqrt().sum()
    distance = (mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * cross
    return max(0.0, distance.item())
