"""What notebook 07 writes out in its cells, held against the helpers that it then imports."""
from __future__ import annotations


import pytest
import torch
from sklearn.tree import DecisionTreeClassifier
from torch import nn

from course_utils.attacks import (
    SmoothNeighbours, across_hyperplane, along_the_label, cross_entropies, ensemble, expectation, saliency, shortest_path,
)
from course_utils.models import mlp
from notebook_cells import defined

WRITTEN = ("away_from_class", "smooth_vote", "to_another_leaf", "augment", "ensemble_loss", "add_features", "seen_often")


@pytest.fixture(scope="module")
def cells() -> dict:
    """What the cells define that write out an attack."""
    names = {"torch": torch}
    return defined("07", WRITTEN, names)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def net(classes: int = 10, inputs: int = 12) -> nn.Module:
    return nn.Sequential(nn.Flatten(), mlp([inputs, 16, classes], nn.Tanh)).double()


def some(count: int = 30) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand(count, 1, 3, 4, dtype=torch.float64), torch.arange(count) % 10


def test_the_step_against_a_class_is_the_helpers(cells):
    x, y = some()
    weight = torch.randn(10, 12, dtype=torch.float64)
    torch.testing.assert_close(cells["away_from_class"](weight, x, y, 0.7), across_hyperplane(weight, x, y, eps=0.7))


@pytest.mark.parametrize("temperature", [0.3, 5.0])
def test_the_smooth_vote_is_the_helpers(cells, temperature):
    known, labels = some(50)
    x, _ = some()
    torch.testing.assert_close(cells["smooth_vote"](known, labels, x, temperature), SmoothNeighbours(known, labels, 10, temperature)(x))


def test_the_way_to_another_leaf_is_the_helpers(cells):
    known, x = torch.rand(200, 12), torch.rand(50, 12)
    tree = DecisionTreeClassifier(max_depth=6, random_state=0).fit(known, (3 * known[:, 0] + known[:, 1] > 2).long() + (known[:, 2] > 0.6).long())
    y = torch.from_numpy(tree.predict(x))
    written = torch.stack([torch.from_numpy(cells["to_another_leaf"](tree, row.numpy(), label.item(), beyond=1e-4)) for row, label in zip(x, y)])
    torch.testing.assert_close(written, shortest_path(tree, x, y, beyond=1e-4), atol=1e-6, rtol=0)
    assert (tree.predict(written) != y.numpy()).all()


@pytest.mark.parametrize("step", [0.1, -0.3])
def test_augmentation_is_the_helpers(cells, step):
    model, (x, y) = net(), some()
    torch.testing.assert_close(cells["augment"](model, x, y, step), along_the_label(model, x, y, step))


def test_the_loss_of_an_ensemble_is_cross_entropy_of_the_helpers_model(cells):
    models, (x, y) = [net() for _ in range(3)], some()
    found = []
    for loss in (lambda x: cells["ensemble_loss"](models, x, y), lambda x: cross_entropies(ensemble(models)(x), y)):
        probe = x.clone().requires_grad_()
        values = loss(probe)
        found.append((values.detach(), torch.autograd.grad(values.sum(), probe)[0]))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("features", [1, 4, 12])
def test_adding_features_is_the_helpers(cells, features):
    model, x = net(classes=2), (torch.rand(60, 1, 1, 12) < 0.4).double()
    allowed = torch.rand(1, 1, 12) < 0.7
    y = torch.ones(60, dtype=torch.int64)
    torch.testing.assert_close(cells["add_features"](model, x, allowed, features), saliency(model, x, y, features=features, allowed=allowed))


def test_a_model_that_takes_several_photographs_is_the_helpers(cells):
    model, (x, _) = net(), some()
    shades = iter([0.9, 0.7, 0.5])
    written = cells["seen_often"](model, lambda images: images * next(shades), 3)(x)
    rows = torch.tensor([0.9, 0.7, 0.5], dtype=torch.float64).repeat_interleave(len(x)).view(-1, 1, 1, 1)
    torch.testing.assert_close(written, expectation(model, lambda images, generator: images * rows, draws=3)(x))
