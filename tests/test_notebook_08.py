"""What notebook 08 writes out in its cells, held against the helpers that it then imports, and against closed forms."""
from __future__ import annotations

import copy
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, interpolate, logsigmoid

from course_utils import runtime
from course_utils.attacks import cross_entropies, fgsm, pgd
from course_utils.defenses import Decoded, Glimpses, Hedged, Noise, adversarial, codewords, double_backprop
from course_utils.models.units import Sigmoid
from notebook_cells import code, defined

X = torch.rand(20, 1, 6, 6, generator=torch.Generator().manual_seed(1))
Y = torch.arange(20) % 4


def share(which):
    return which.float().mean().item()


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 20), nn.Tanh(), nn.Linear(20, 4))


@pytest.fixture
def cells(net) -> dict:
    """The functions that the cells define."""
    names = {"torch": torch, "nn": nn, "cross_entropy": cross_entropy, "logsigmoid": logsigmoid, "runtime": runtime, "partial": partial,
             "pgd": pgd, "cross_entropies": cross_entropies, "share": share, "x": X, "y": net(X).argmax(1), "WINDOW": 4, "Sigmoid": Sigmoid, "copy": copy,
             "S": SimpleNamespace(device="cpu", eps=0.1, pgd_steps=5)}
    return defined("08", ("named_right", "right", "margin", "attack_that_knows", "worst", "on_attacked", "shaken", "less_sure", "words_of", "log_likelihood", "glimpse", "with_slope", "softer", "bend"), names)


def test_the_written_out_loss_is_adversarial_training(cells, net):
    attack = partial(fgsm, eps=0.1)
    torch.testing.assert_close(cells["on_attacked"](net, X, Y, attack), adversarial(net, X, Y, attack=attack))


def test_the_written_out_noise_and_step_are_the_helpers(cells, net):
    a, b = (torch.Generator().manual_seed(3) for _ in range(2))
    torch.testing.assert_close(cells["shaken"](X, 0.2, a), Noise(0.2)(X, b))
    torch.testing.assert_close(net(cells["less_sure"](net, X, 0.05)), Hedged(net, 0.05)(X))


def test_the_written_out_words_and_their_likelihood_are_the_helpers(cells):
    for classes, bits in ((4, 8), (10, 32)):
        assert torch.equal(cells["words_of"](classes, bits), codewords(classes, bits))
    words, scores = codewords(10, 32), 3 * torch.randn(7, 32)
    torch.testing.assert_close(cells["log_likelihood"](scores, words), Decoded(lambda s: s, words)(scores))


def test_the_written_out_glimpse_is_one_of_the_helpers(cells):
    seen = Glimpses(4)(X[:1], torch.Generator().manual_seed(0))[0]
    windows = [cells["glimpse"](X[0], top, left) for top in range(3) for left in range(3)]
    assert sum(torch.allclose(seen, window) for window in windows) == 1
    torch.testing.assert_close(windows[0], interpolate(X[:1, :, :4, :4], (6, 6), mode="bilinear", align_corners=False)[0])


def test_the_written_out_penalty_is_double_backprop(cells, net):
    mine, theirs = cells["with_slope"](net, X, Y, 0.7), double_backprop(net, X, Y, weight=0.7)
    torch.testing.assert_close(mine, theirs)
    weight = net[1].weight
    torch.testing.assert_close(torch.autograd.grad(mine, weight)[0], torch.autograd.grad(theirs, weight)[0])


def test_margin_is_the_lead_of_the_best_wrong_answer(cells, net):
    for logits, y, value in zip(net(X).detach(), Y, cells["margin"](net(X), Y)):
        wrong = [v.item() for i, v in enumerate(logits) if i != y]
        assert abs(value.item() - (max(wrong) - logits[y].item())) < 1e-5


def test_the_better_of_two_attacks_counts(cells, net):
    labels = net(X).argmax(1)
    assert cells["right"](net) == 1
    found = cells["attack_that_knows"](net)
    first, second = (cells["named_right"](net, pgd(net, X, labels, eps=0.1, steps=5, loss=loss)) for loss in (cross_entropies, cells["margin"]))
    assert cells["right"](net, found) == share(first & second) < 1 and (found - X).abs().max() <= 0.1 + 1e-6
    assert cells["worst"](net, eps=0.0) == 1 and cells["worst"](net, eps=0.5) < cells["worst"](net, eps=0.05)


def test_each_picture_has_to_withstand_both_losses(cells, net):
    """One loss finds a wrong answer for the first half of the pictures, the other for the second: nothing is left."""
    labels, half = net(X).argmax(1), torch.arange(len(X)) < len(X) // 2
    wrong = X[[(labels != label).nonzero()[0].item() for label in labels]]
    cells["pgd"] = lambda model, x, y, *, loss, **how: torch.where((half if loss is cross_entropies else ~half).view(-1, 1, 1, 1), wrong, x)
    assert cells["worst"](net) == 0 and cells["right"](net, cells["attack_that_knows"](net)) == 0


def test_what_an_attacker_differentiates_may_be_something_else(cells, net):
    """Of a net of steps, which has no gradient at all, the stand-in finds more than a random start does."""
    stairs = lambda v: net(v) * 0 + 5 * nn.functional.one_hot(net(v).argmax(1), 4)  # noqa: E731
    alone, standing_in = cells["attack_that_knows"](stairs), cells["attack_that_knows"](stairs, net)
    assert cells["right"](stairs, standing_in) < cells["right"](stairs, alone)


def test_softer_units_keep_the_weights_and_leave_the_net_alone(cells):
    net = nn.Sequential(nn.Linear(3, 3), Sigmoid(12.0))
    soft = cells["softer"](net, 3.0)
    assert soft[1].gain == 3.0 and net[1].gain == 12.0 and torch.equal(soft[0].weight, net[0].weight)


def test_bend_is_0_for_a_line_and_right_for_a_parabola(cells):
    assert cells["bend"](nn.Sequential(nn.Flatten(), nn.Linear(36, 4))) < 1e-5
    cells["x"] = torch.tensor([[0.0], [1.0], [0.0]])  # v^2: 1/4 half-way, mean 1/2, half the difference 1/2
    assert abs(cells["bend"](lambda v: v.square()) - 0.5) < 1e-6


@pytest.fixture
def checks() -> str:
    return "\n".join(code("08"))


def test_every_claim_is_checked_once(checks):
    for number in range(1, 21):
        assert checks.count(f'check("8.{number}",') == 1
