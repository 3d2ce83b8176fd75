"""Attacks on models that are no nets, as in Papernot, McDaniel and Goodfellow 2016: tree, nearest neighbours, support vectors."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from course_utils.validate import expect, expect_in_box, expect_labels, expect_positive


class SmoothNeighbours(nn.Module):
    """Nearest neighbours with a gradient: each training picture votes for its class with the weight exp(-distance² / temperature).

    ``images`` (M, ...) in [0, 1] and ``labels`` (M,) are what the neighbours are taken from; every one of ``classes``
    has at least one. Examples (B, ...) to logits (B, classes): the logarithm of each class's votes, so their softmax is
    the smoothed vote of Papernot et al. 2016, section 3.3 (there with temperature 1). For a small temperature the largest
    logit is the class of the nearest neighbour.
    """

    def __init__(self, images: Tensor, labels: Tensor, classes: int, temperature: float = 1.0) -> None:
        super().__init__()
        expect_in_box(images, "images")
        expect_labels(labels, classes, len(images))
        missing = sorted(set(range(classes)) - set(labels.tolist()))
        expect(not missing, "labels", f"every class from 0 to {classes - 1}", f"none of {missing}")
        expect_positive(temperature, "temperature")
        self.temperature = temperature
        self.register_buffer("known", images.flatten(1))
        self.register_buffer("of_class", nn.functional.one_hot(labels, classes).bool())

    def forward(self, x: Tensor) -> Tensor:
        x, known = x.flatten(1), self.known.to(x.dtype)
        square = x.square().sum(1, keepdim=True) + known.square().sum(1) - 2 * x @ known.T
        votes = (-square / self.temperature)[:, :, None].masked_fill(~self.of_class, -torch.inf)
        return votes.logsumexp(dim=1)


def across_hyperplane(weight: Tensor, x: Tensor, y: Tensor, *, eps: float) -> Tensor:
    """x - eps w_y / |w_y|, clipped to [0, 1]: straight away from class y of a linear machine (Papernot et al. 2016, section 3.4).

    ``weight`` (classes, D) with one row a class, ``x`` (N, ...) in [0, 1] of D values each, ``y`` (N,) int64; ``eps`` is
    the length of the step (L2). Raises ValueError, naming the argument, for anything else, and for a row of zeros, which
    points nowhere.
    """
    expect_in_box(x, "x")
    size = x[0].numel()
    fits = isinstance(weight, Tensor) and weight.ndim == 2 and weight.shape[1] == size
    expect(fits, "weight", f"a tensor (classes, {size})", getattr(weight, "shape", type(weight).__name__))
    expect_labels(y, len(weight), len(x), "y")
    expect_positive(eps, "eps")
    rows = weight.detach().to(x.dtype).to(x.device)[y]
    length = rows.norm(dim=1, keepdim=True)
    expect(bool((length > 0).all()), "weight", "rows that are not all 0", f"zeros for class {y[(length == 0).flatten()][:1].tolist()}")
    return (x.detach() - eps * (rows / length).view_as(x)).clamp(0, 1)


def shortest_path(tree: object, x: Tensor, y: Tensor, *, beyond: float = 1 / 255) -> Tensor:
    """Move examples to the nearest leaf of a decision tree that gives another answer than y (Papernot et al. 2016, algorithm 1).

    The nearest leaf is the one with the fewest branches between it and the leaf where the example is now: up to a common
    ancestor, and down on its other side. Only values that this leaf asks for otherwise change, each to ``beyond`` past
    the threshold.

    tree    a fitted sklearn.tree.DecisionTreeClassifier whose classes are 0 … K-1
    x, y    examples (N, ...) in [0, 1], float32, and their labels (N,) int64

    Returns examples like ``x``, in [0, 1]; those that the tree answers wrongly already come back as they are. Raises
    ValueError, naming the argument, for anything else, and for a tree that has only one answer.
    """
    expect_in_box(x, "x")
    expect(x.dtype == torch.float32, "x", "dtype torch.float32, in which scikit-learn's trees compare", x.dtype)
    expect(hasattr(tree, "tree_"), "tree", "a fitted DecisionTreeClassifier", repr(tree))
    expect(np.array_equal(tree.classes_, np.arange(len(tree.classes_))), "tree", "classes 0 … K-1", tree.classes_)
    expect_labels(y, None, len(x), "y")
    expect_positive(beyond, "beyond")
    leaves, flat = _leaves_of(tree.tree_), x.detach().cpu().flatten(1).numpy()
    here = np.searchsorted(leaves.node, tree.apply(flat))
    labels = y.cpu().numpy()
    steps = leaves.branches_between()[here].astype(float)
    steps[leaves.answer[None] == labels[:, None]] = np.inf
    expect(bool(np.isfinite(steps).any(axis=1).all()), "tree", "leaves of at least two classes", "one answer only")
    low, high = (bounds[steps.argmin(axis=1)] for bounds in (leaves.low, leaves.high))
    middle = (np.clip(low, 0, 1) + np.clip(high, 0, 1)) / 2
    bottom, top = low + beyond, high - beyond
    narrow = bottom > top
    moved = np.clip(flat, np.where(narrow, middle, bottom), np.where(narrow, middle, top))
    stays = ((low < flat) & (flat <= high)) | (leaves.answer[here] != labels)[:, None]
    return torch.from_numpy(np.where(stays, flat, np.clip(moved, 0, 1)).astype(np.float32)).view(x.shape).to(x.device)


@dataclass(frozen=True)
class _Leaves:
    """The L leaves of a tree of M nodes over D values, in the order of their ``node`` numbers."""

    node: np.ndarray    # (L,)
    answer: np.ndarray  # (L,) class
    above: np.ndarray   # (L, M) bool: which nodes lie between the root and the leaf, the root too
    low: np.ndarray     # (L, D) the leaf holds values above this …
    high: np.ndarray    # (L, D) … and at most this

    def branches_between(self) -> np.ndarray:
        """(L, L): branches on the way from one leaf to another."""
        shared = self.above.astype(np.float32) @ self.above.T.astype(np.float32)
        depth = self.above.sum(axis=1)
        return depth[:, None] + depth[None] - 2 * (shared - 1)


def _leaves_of(tree: object) -> _Leaves:
    """The leaves of scikit-learn's ``tree_``, with what each asks of an example."""
    count, features = tree.node_count, tree.n_features
    above = np.zeros((count, count), dtype=bool)
    low, high = np.full((count, features), -np.inf), np.full((count, features), np.inf)
    for node in range(count):  # parents come before their children
        for child, below in ((tree.children_left[node], True), (tree.children_right[node], False)):
            if child < 0:
                continue
            above[child] = above[node]
            above[child, node] = True
            low[child], high[child] = low[node], high[node]
            feature, threshold = tree.feature[node], tree.threshold[node]
            if below:
                high[child, feature] = min(high[child, feature], threshold)
            else:
                low[child, feature] = max(low[child, feature], threshold)
    leaf = np.flatnonzero(tree.children_left < 0)
    return _Leaves(leaf, tree.value[leaf, 0].argmax(axis=1), above[leaf], low[leaf], high[leaf])
