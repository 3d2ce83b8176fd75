"""What the second half of notebook 08 writes out in its cells: against the helper, and against closed forms."""
from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, multi_margin_loss

from course_utils import runtime
from course_utils.attacks import SmoothNeighbours, fgsm, pgd
from course_utils.data import ImageSet
from course_utils.defenses import adversarial
from course_utils.models import mlp
from course_utils.models.units import Centre
from course_utils.training import fit
from notebook_cells import defined

G = torch.Generator().manual_seed(2)
X, Y = torch.rand(20, 1, 6, 6, generator=G), torch.arange(20) % 4
MEMORY, LABELS = torch.rand(40, 1, 6, 6, generator=G), torch.arange(40) % 4


def share(which):
    return which.float().mean().item()


@pytest.fixture
def cells() -> dict:
    """The functions that the cells define."""
    names = {"torch": torch, "nn": nn, "cross_entropy": cross_entropy, "multi_margin_loss": multi_margin_loss, "pgd": pgd, "share": share,
             "SmoothNeighbours": SmoothNeighbours, "S": SimpleNamespace(radius=0.1, device="cpu"), "train_set": SimpleNamespace(classes=tuple("abcd"))}
    return defined("08", ("mixed", "hinge", "hinges", "nearest", "towards_others", "neighbours_right", "stays_right", "with_decay"), names)


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 20), nn.Tanh(), nn.Linear(20, 4))


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_the_written_out_objective_is_the_helpers(cells, net, alpha):
    attack = partial(fgsm, eps=0.1)
    ours, helper = cells["mixed"](net, X, Y, attack, alpha), adversarial(net, X, Y, attack=attack, clean=alpha)
    torch.testing.assert_close(ours, helper)
    for one, other in zip(*(torch.autograd.grad(value, list(net.parameters())) for value in (ours, helper))):
        torch.testing.assert_close(one, other)


def test_hinge_losses_from_their_definition(cells, net):
    logits = net(X).detach()
    wanted = torch.stack([sum((1 - row[y] + row[k]).clamp_min(0) for k in range(4) if k != y) / 4 for row, y in zip(logits, Y)])
    torch.testing.assert_close(cells["hinges"](logits, Y), wanted)
    torch.testing.assert_close(cells["hinge"](net, X, Y).detach(), wanted.mean())


def test_nearest_neighbour_one_by_one(cells):
    wanted = [LABELS[((MEMORY - x).square().flatten(1).sum(1)).argmin()].item() for x in X]
    assert cells["nearest"](MEMORY, LABELS, X).tolist() == wanted


def test_the_way_to_other_classes_ends_in_the_box_and_nearer_to_them(cells):
    for moved in cells["towards_others"](MEMORY, LABELS, X, Y, count=3):
        assert (moved - X).abs().max() <= 0.1 + 1e-6 and moved.min() >= 0 and moved.max() <= 1
        others = torch.stack([torch.cdist(one.flatten(1), MEMORY.flatten(1)).masked_fill(Y[:, None] == LABELS, torch.inf).amin(1) for one in (X, moved)])
        assert (others[1] < others[0]).double().mean() > 0.9


def test_a_neighbour_that_is_far_from_all_others_stays_right_and_a_near_one_does_not(cells):
    memory, labels = torch.stack([torch.zeros(1, 6, 6), torch.ones(1, 6, 6), torch.full((1, 6, 6), 0.9), torch.full((1, 6, 6), 0.8)]), torch.arange(4)
    x = torch.stack([torch.full((1, 6, 6), 0.02), torch.full((1, 6, 6), 0.96), torch.full((1, 6, 6), 0.99)])
    clean, robust = cells["neighbours_right"](memory.repeat(4, 1, 1, 1), labels.repeat(4), x, torch.tensor([0, 1, 0]))
    assert clean.tolist() == [True, True, False]
    assert robust.tolist() == [True, False, False]


def test_the_worst_change_of_a_linear_model_against_every_corner(cells):
    g = torch.Generator().manual_seed(3)
    a, w, b, t = torch.rand(60, 4, generator=g), torch.randn(4, generator=g), torch.tensor(0.1), torch.where(torch.arange(60) % 2 == 0, 1.0, -1.0)
    corners = torch.cartesian_prod(*[torch.tensor([-0.1, 0.1])] * 4)
    held = torch.stack([t * ((a + corner).clamp(0, 1) @ w + b) > 0 for corner in corners]).all(0)
    assert 0 < share(held) < 1
    assert cells["stays_right"]((w, b), a, t) == share(held)


def test_decay_adds_the_l1_norm_of_the_weights_only(cells, net):
    extra = cells["with_decay"](net, X, Y, 0.1) - cross_entropy(net(X), Y)
    torch.testing.assert_close(extra, 0.1 * (net[1].weight.abs().sum() + net[3].weight.abs().sum()))


def test_random_signs_move_every_pixel_by_epsilon_within_the_box_and_ask_no_model():
    signs = defined("08", ("random_signs",), {"torch": torch, "S": SimpleNamespace(few_eps=0.25)})["random_signs"]
    torch.manual_seed(5)
    moved = signs(None, X, None)
    up = moved > X
    torch.testing.assert_close(moved, torch.where(up, X + 0.25, X - 0.25).clamp(0, 1))
    assert 0.45 < share(up) < 0.55
    assert not torch.equal(signs(None, X, None), moved)  # drawn anew every time


def test_withstood_is_fgsm_first_and_then_ever_more_of_pgd(net):
    asked = []

    def worst(net, eps, steps, restarts=1):
        asked.append((eps, steps * restarts))
        return 0.5 - len(asked) / 10

    given = {"right": lambda net, pictures: share(net(pictures).argmax(1) == Y), "fgsm": fgsm, "worst": worst, "x": X, "y": Y}
    withstood = defined("08", ("STRENGTHS", "withstood"), given)["withstood"]
    left = withstood(net, 0.07)
    assert left[0] == share(net(fgsm(net, X, Y, eps=0.07)).argmax(1) == Y)
    assert left[1:] == [0.5 - k / 10 for k in range(1, len(asked) + 1)]
    assert asked == sorted(asked) and len(set(asked)) == len(asked) and {eps for eps, _ in asked} == {0.07}


def test_fitted_learns_the_labelling_that_it_is_given_and_a_wider_net_more_of_it(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path))
    few, names = torch.rand(60, 1, 6, 6, generator=torch.Generator().manual_seed(6)), tuple("ab")
    labels = torch.arange(60) % 2  # by chance: nothing but memory helps
    given = {"runtime": runtime, "nn": nn, "fit": fit, "ImageSet": ImageSet, "Centre": Centre, "mlp": mlp, "points": few,
             "train_set": SimpleNamespace(classes=names, images=few), "S": SimpleNamespace(label_epochs=200, device="cpu")}
    fitted = defined("08", ("one_layer", "fitted"), given)["fitted"]
    narrow, wide = fitted(1, labels), fitted(60, labels)
    assert not wide.training
    assert share(wide(few).argmax(1) == labels) > 0.95 > share(narrow(few).argmax(1) == labels)
