"""What notebook 09 writes out in its cells, held against the helpers that it then imports, and against closed forms."""
from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from course_utils.data import ImageSet
from course_utils.models import mlp
from course_utils.training import adam
from course_utils.vat import divergence, vat_loss, virtual_adversarial, virtual_direction
from notebook_cells import defined

X = torch.rand(20, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture
def cells() -> dict:
    """The functions that the cells define."""
    names = {"torch": torch, "nn": nn}
    return defined("09", ("unit", "divergences", "power_iteration", "two_moons"), names)


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 20), nn.Tanh(), nn.Linear(20, 5)).double()


@pytest.mark.parametrize("rounds", [0, 1, 4])
@pytest.mark.parametrize("xi", [1e-4, 1e-1, 1.0])
def test_the_written_out_power_iteration_is_the_helpers(cells, net, rounds, xi):
    start = torch.randn(X.shape, generator=torch.Generator().manual_seed(1), dtype=X.dtype)
    helper = virtual_direction(net, X, xi=xi, iterations=rounds, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(cells["power_iteration"](net, X, start, rounds, xi), helper, atol=1e-7, rtol=1e-6)


def test_the_written_out_smoothness_is_the_helpers(cells, net):
    start = torch.randn(X.shape, generator=torch.Generator().manual_seed(1), dtype=X.dtype)
    d = cells["power_iteration"](net, X, start)
    D = cells["divergences"](net, X, 0.7 * d)
    torch.testing.assert_close(D.detach(), divergence(net, X, virtual_adversarial(net, X, eps=0.7, xi=0.1, generator=torch.Generator().manual_seed(1))), atol=1e-9, rtol=1e-6)
    helper = vat_loss(net, X, eps=0.7, xi=0.1, generator=torch.Generator().manual_seed(1))
    parameters = list(net.parameters())
    for a, b in zip(torch.autograd.grad(D.mean(), parameters), torch.autograd.grad(helper, parameters)):
        torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-5)


def test_the_divergence_is_that_of_two_distributions(cells, net):
    r = 0.3 * torch.randn(X.shape, generator=torch.Generator().manual_seed(2), dtype=X.dtype)
    for v, change, D in zip(X, r, cells["divergences"](net, X, r)):
        p, q = (torch.distributions.Categorical(logits=net(w[None])[0]) for w in (v, v + change))
        torch.testing.assert_close(D, torch.distributions.kl_divergence(p, q))


def test_two_moons_lie_where_they_should(cells):
    points, y = cells["two_moons"](2000, torch.Generator().manual_seed(3), noise=0.0)
    torch.testing.assert_close(points[y == 0].norm(dim=1), torch.ones(1000))
    torch.testing.assert_close((points[y == 1] - torch.tensor([1.0, 0.5])).norm(dim=1), torch.ones(1000))
    assert (points[y == 0][:, 1] >= 0).all() and (points[y == 1][:, 1] <= 0.5 + 1e-6).all()


def few_labels(maps: tuple[int, ...]) -> tuple[dict, nn.Module, ImageSet]:
    """What the cells define for few labels, a net of theirs, and pictures with labels."""
    settings, pictures = SimpleNamespace(maps=maps, hidden=7), SimpleNamespace(shape=(1, 4, 4))
    given = {"nn": nn, "torch": torch, "dataclass": dataclass, "ImageSet": ImageSet, "cross_entropy": cross_entropy, "mlp": mlp, "S": settings,
             "pixels": 16, "classes": 5, "train_set": pictures}
    cells = defined("09", ("layers", "FewLabels", "nothing", "Shifts"), given)
    torch.manual_seed(0)
    return cells, nn.Sequential(nn.Flatten(), cells["layers"]()), ImageSet(X[:6].float(), torch.arange(6) % 5, tuple("abcde"), "few")


def test_the_cost_of_few_labels_is_theirs_and_the_terms_and_reads_no_others():
    cells, net, few = few_labels(maps=())
    cost = cells["FewLabels"](few, lambda model, x, labelled: 3 * x.sum())
    expected = cross_entropy(net(few.images), few.labels) + 3 * X[6:].float().sum()
    torch.testing.assert_close(cost(net, X[6:].float(), None), expected)  # None: whoever reads the labels fails


def test_batch_norm_takes_pictures_with_and_without_labels_for_one_batch():
    cells, net, few = few_labels(maps=(3, 4))
    cost, others = cells["FewLabels"](few, cells["nothing"]), X[6:].float() + 1  # brighter ones
    together = cross_entropy(net(torch.cat([few.images, others]))[:6], few.labels)
    torch.testing.assert_close(cost(net, others, None), together)
    assert (together - cross_entropy(net(few.images), few.labels)).abs() > 0.01  # apart it would be something else


def test_shifts_move_each_picture_as_a_whole_and_only_in_training():
    Shifts = few_labels(maps=())[0]["Shifts"]
    pictures = torch.zeros(400, 2, 9, 7)
    pictures[:, 0, 4, 3], pictures[:, 1, 5, 3] = 1, 2  # two channels move alike
    torch.manual_seed(1)
    moved = Shifts(2)(pictures)
    one, two = moved[:, 0].nonzero(), moved[:, 1].nonzero()
    assert len(one) == 400 and torch.equal(two - one, torch.tensor([0, 1, 0]).expand(400, -1))
    steps = one[:, 1:] - torch.tensor([4, 3])
    assert len(steps.unique(dim=0)) == 25 and steps.abs().max() == 2  # every step is taken
    assert Shifts(2).eval()(pictures) is pictures and Shifts(0)(pictures) is pictures


def test_the_rate_falls_by_the_same_factor_at_every_step():
    falling = defined("09", ("falling",), {"adam": adam, "S": SimpleNamespace(fall=0.9)})["falling"]
    weight = nn.Parameter(torch.ones(3))
    opt = falling([weight])
    for _ in range(4):
        weight.grad = torch.ones(3)
        opt.step()
    assert opt.param_groups[0]["lr"] == pytest.approx(2e-3 * 0.9**4)
