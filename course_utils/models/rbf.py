"""Radial basis functions: units that say yes near a centre and no everywhere else."""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from course_utils.validate import expect, expect_count, expect_images, expect_labels, expect_positive


class RBF(nn.Module):
    """``units`` radial basis functions: (B, inputs) -> (B, units), exp(-beta |x - c|^2), each with its centre c and its beta.

    Centres begin uniform in [0, 1], where pictures and the answers of such units lie; beta = 1 / (inputs / 6), one over the mean squared
    distance of two such points, so that a unit begins at about 1/e. beta stays above 0: its logarithm is what is learned.
    """

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        expect_count(inputs, "inputs")
        expect_count(units, "units")
        self.centres = nn.Parameter(torch.rand(units, inputs))
        self.log_beta = nn.Parameter(torch.full((units,), math.log(6 / inputs)))

    def exponent(self, x: Tensor) -> Tensor:
        """beta |x - c|^2, (B, units), at least 0: the unit's answer is exp of its negative."""
        squared = x.square().sum(1, keepdim=True) - 2 * x @ self.centres.T + self.centres.square().sum(1)
        return self.log_beta.exp() * squared.clamp_min(0)  # rounding may bring a distance of 0 below it

    def forward(self, x: Tensor) -> Tensor:
        return torch.exp(-self.exponent(x))


class RBFClassifier(nn.Module):
    """A shallow RBF net: pictures (B, C, H, W) in [0, 1] to the log odds (B, classes) of one unit for each class.

    Class k has the probability p_k = exp(-beta_k |x - c_k|^2), as the quadratic units of Goodfellow et al. 2014 (section 8): the classes don't
    compete, and far from every centre all of them say no. ``forward`` gives log(p / (1 - p)), whose sigmoid is p: train it with ``own_loss``.
    """

    def __init__(self, shape: Sequence[int], classes: int) -> None:
        super().__init__()
        expect_count(classes, "classes", 2)
        self.units = RBF(math.prod(shape), classes)

    @torch.no_grad()
    def start_at(self, images: Tensor, labels: Tensor) -> RBFClassifier:
        """Centres at the classes' mean pictures, each beta such that p is 1/2 at the mean squared distance of its class; returns itself.

        Raises ValueError for pictures that don't fit and for a class without pictures.
        """
        expect_images(images)
        classes, inputs = self.units.centres.shape
        expect(math.prod(images.shape[1:]) == inputs, "images", f"pictures of {inputs} values", f"the shape {tuple(images.shape)}")
        expect_labels(labels, classes, len(images))
        expect(len(labels.unique()) == classes, "labels", f"all {classes} classes", f"{len(labels.unique())} of them")
        x = images.flatten(1)
        for k in range(classes):
            own = x[labels == k]
            self.units.centres[k] = own.mean(0)
            self.units.log_beta[k] = (math.log(2) / (own - own.mean(0)).square().sum(1).mean().clamp_min(1e-6)).log()
        return self

    def forward(self, x: Tensor) -> Tensor:
        exponent = self.units.exponent(x.flatten(1)).clamp_min(1e-6)  # at the centre itself the odds would be infinite
        return -exponent - torch.log(-torch.expm1(-exponent))  # log p - log(1 - p)


def own_losses(logits: Tensor, y: Tensor) -> Tensor:
    """Each example's cost (B,) where every class is a yes or no of its own: the sum of the classes' binary cross entropies.

    ``logits`` (B, K) are log odds, ``y`` (B,) class numbers.
    """
    wanted = nn.functional.one_hot(y, logits.shape[1]).to(logits.dtype)
    return nn.functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none").sum(1)


def own_loss(model: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> Tensor:
    """The mean of ``own_losses`` of ``model``'s answers, for ``fit``."""
    return own_losses(model(x), y).mean()


def deep_rbf(inputs: int, classes: int, depth: int, width: int = 64, batch_norm: bool = False, layer: Callable[[int, int], nn.Module] = RBF) -> nn.Sequential:
    """``depth`` layers of RBF units under a linear one: pictures (B, …) of ``inputs`` values to logits (B, classes).

    ``batch_norm`` puts a batch normalisation before every layer but the first. Another ``layer(inputs, units)`` takes the place of the RBF
    units, for nets that are compared with them.
    """
    expect_count(depth, "depth")
    expect_count(classes, "classes", 2)
    layers: list[nn.Module] = [nn.Flatten()]
    for i in range(depth):
        layers += [nn.BatchNorm1d(width)] if batch_norm and i else []
        layers.append(layer(width if i else inputs, width))
    return nn.Sequential(*layers, nn.Linear(width, classes))
