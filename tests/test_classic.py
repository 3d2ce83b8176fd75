"""Attacks on models that are no nets: against closed forms, and against a search through the whole tree."""
from __future__ import annotations

from collections import deque

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier

from course_utils.attacks import SmoothNeighbours, across_hyperplane, fgsm, shortest_path

DRAW = torch.Generator().manual_seed(0)


def uniform(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=DRAW)


KNOWN, LABELS = uniform(60, 1, 4, 5), torch.arange(60) % 3
X = uniform(40, 1, 4, 5)

# ---- nearest neighbours ----------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.1, 1.0, 7.0])
def test_the_smooth_vote_is_the_formula(temperature):
    weights = torch.exp(-(X.flatten(1)[:, None] - KNOWN.flatten(1)[None]).double().square().sum(2) / temperature)
    votes = torch.stack([weights[:, LABELS == k].sum(1) for k in range(3)], dim=1)
    found = SmoothNeighbours(KNOWN, LABELS, 3, temperature)(X.double())
    torch.testing.assert_close(found.softmax(1), votes / votes.sum(1, keepdim=True))


def test_at_a_low_temperature_the_nearest_neighbour_decides():
    nearest = KNeighborsClassifier(1).fit(KNOWN.flatten(1), LABELS).predict(X.flatten(1))
    assert (SmoothNeighbours(KNOWN, LABELS, 3, 1e-4)(X).argmax(1).numpy() == nearest).all()


def test_its_gradient_misleads_the_real_neighbours():
    nearest = KNeighborsClassifier(1).fit(KNOWN.flatten(1), LABELS)
    y = torch.from_numpy(nearest.predict(X.flatten(1)))
    wrong = [(nearest.predict(images.flatten(1)) != y.numpy()).mean() for images in (
        fgsm(SmoothNeighbours(KNOWN, LABELS, 3, 0.3), X, y, eps=0.15), (X + 0.15 * (uniform(*X.shape) - 0.5).sign()).clamp(0, 1))]
    assert wrong[0] >= wrong[1] + 0.3


# ---- hyperplanes -----------------------------------------------------------------------------------------


def test_a_step_against_the_hyperplane_is_the_shortest_way_down():
    weight, x, y = torch.randn(3, 20, generator=DRAW, dtype=torch.float64), 0.4 + 0.2 * X.double(), LABELS[:40]
    found = across_hyperplane(weight, x, y, eps=0.3)
    assert found.dtype == x.dtype and found.shape == x.shape
    change = (found - x).flatten(1)
    torch.testing.assert_close(change.norm(dim=1), torch.full((40,), 0.3, dtype=torch.float64))
    torch.testing.assert_close((change * weight[y]).sum(1), -0.3 * weight[y].norm(dim=1))


def test_it_stays_in_the_box():
    found = across_hyperplane(torch.randn(3, 20, generator=DRAW), X, LABELS[:40], eps=5.0)
    assert found.min() >= 0 and found.max() <= 1


# ---- trees -----------------------------------------------------------------------------------------------


def branches(tree) -> dict[int, set[int]]:
    """Each node's neighbours: its parent and its children."""
    near: dict[int, set[int]] = {node: set() for node in range(tree.node_count)}
    for node in range(tree.node_count):
        for child in (tree.children_left[node], tree.children_right[node]):
            if child >= 0:
                near[node].add(int(child))
                near[int(child)].add(node)
    return near


def distances(tree, start: int) -> dict[int, int]:
    """Branches from ``start`` to every node, by breadth-first search."""
    near, far, queue = branches(tree), {start: 0}, deque([start])
    while queue:
        node = queue.popleft()
        for other in near[node] - far.keys():
            far[other] = far[node] + 1
            queue.append(other)
    return far


@pytest.mark.parametrize("depth", [1, 3, None])
def test_examples_arrive_at_the_nearest_leaf_with_another_answer(depth):
    model = DecisionTreeClassifier(max_depth=depth, random_state=0).fit(KNOWN.flatten(1), LABELS)
    y = torch.from_numpy(model.predict(X.flatten(1)))
    found = shortest_path(model, X, y, beyond=1e-3)
    tree, answer = model.tree_, model.tree_.value[:, 0].argmax(1)
    leaves = np.flatnonzero(tree.children_left < 0)
    for before, after, label in zip(model.apply(X.flatten(1)), model.apply(found.flatten(1)), y.tolist()):
        far = distances(tree, int(before))
        assert answer[after] != label
        assert far[int(after)] == min(far[int(leaf)] for leaf in leaves if answer[leaf] != label)
    assert found.dtype == X.dtype and 0 <= found.min() and found.max() <= 1


def test_only_what_the_way_asks_for_changes_and_only_as_far_as_it_must():
    model = DecisionTreeClassifier(random_state=0).fit(KNOWN.flatten(1), LABELS)
    y = torch.from_numpy(model.predict(X.flatten(1)))
    found = shortest_path(model, X, y, beyond=1e-3)
    thresholds = {f: model.tree_.threshold[model.tree_.feature == f] for f in range(20)}
    for before, after in zip(X.flatten(1), found.flatten(1)):
        changed = (before != after).nonzero().flatten().tolist()
        assert 1 <= len(changed) <= model.get_depth()
        for f in changed:
            assert np.abs(thresholds[f] - after[f].item()).min() <= 1e-3 + 1e-6


def test_what_is_wrong_already_stays_as_it_is():
    model = DecisionTreeClassifier(random_state=0).fit(KNOWN.flatten(1), LABELS)
    y = torch.from_numpy((model.predict(X.flatten(1)) + 1) % 3)
    assert torch.equal(shortest_path(model, X, y), X)


def test_a_leaf_narrower_than_twice_the_step_is_met_in_its_middle():
    x = torch.tensor([[0.2], [0.5], [0.51], [0.9]])
    model = DecisionTreeClassifier(random_state=0).fit(x, [0, 0, 1, 0])
    found = shortest_path(model, x[:1], torch.tensor([0]), beyond=0.4)
    assert model.predict(found) == [1] and abs(found.item() - (0.505 + 0.705) / 2) < 1e-3


TREE = DecisionTreeClassifier(random_state=0).fit(KNOWN.flatten(1), LABELS)


@pytest.mark.parametrize("call, argument", [
    (lambda: SmoothNeighbours(KNOWN * 2, LABELS, 3), "images"), (lambda: SmoothNeighbours(KNOWN, LABELS[:5], 3), "labels"),
    (lambda: SmoothNeighbours(KNOWN, LABELS, 4), "labels"), (lambda: SmoothNeighbours(KNOWN, LABELS, 3, 0), "temperature"),
    (lambda: across_hyperplane(torch.ones(3, 19), X, LABELS[:40], eps=1.0), "weight"), (lambda: across_hyperplane(torch.ones(2, 20), X, LABELS[:40], eps=1.0), "y"),
    (lambda: across_hyperplane(torch.ones(3, 20), X - 1, LABELS[:40], eps=1.0), "x"), (lambda: across_hyperplane(torch.ones(3, 20), X, LABELS[:40], eps=-1.0), "eps"),
    (lambda: across_hyperplane(torch.eye(3, 20) * torch.tensor([[1.0], [0], [1]]), X, LABELS[:40], eps=1.0), "weight"),
    (lambda: shortest_path(TREE, X.double(), LABELS[:40]), "x"), (lambda: shortest_path(TREE, X, LABELS[:40].float()), "y"),
    (lambda: shortest_path(DecisionTreeClassifier(), X, LABELS[:40]), "tree"), (lambda: shortest_path(TREE, X, LABELS[:40], beyond=0), "beyond"),
    (lambda: shortest_path(DecisionTreeClassifier().fit(KNOWN.flatten(1), LABELS + 1), X, LABELS[:40]), "tree"),
    (lambda: shortest_path(DecisionTreeClassifier().fit(KNOWN.flatten(1), 0 * LABELS), X, 0 * LABELS[:40]), "tree"),
])
def test_bad_input_is_refused_by_name(call, argument):
    with pytest.raises(ValueError, match=f"^{argument}: expected .+, got "):
        call()
