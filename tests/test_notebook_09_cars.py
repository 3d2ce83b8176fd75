"""What the second half of notebook 09 writes out, on words and cars, held against the helpers and against closed forms."""
from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, normalize

from course_utils import design
from course_utils.models.words import Reader
from notebook_cells import defined

TOKENS, LABELS = torch.tensor([[1, 2, 3, 4, 0, 0], [5, 6, 7, 8, 1, 2]]), torch.tensor([0, 1])


@pytest.fixture
def cells() -> dict:
    """The functions that the cells define."""
    names = {"torch": torch, "nn": nn, "cross_entropy": cross_entropy, "normalize": normalize, "design": design, "S": SimpleNamespace(device="cpu"),
             "spread_of_speed": torch.tensor(20.0)}
    return defined("09", ("unit", "adversarial_text", "climb", "truth", "predicted", "RADIUS", "robust", "conservative"), names)


def test_the_written_out_ascent_is_the_helpers(cells):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(12, 20), nn.Tanh(), nn.Linear(20, 1), nn.Flatten(0))
    start = torch.rand(5, 12)
    helper = design.ascend(net, start, steps=30, step_size=0.03)
    torch.testing.assert_close(cells["climb"](net, start, 30, 0.03), helper.path)
    torch.testing.assert_close(cells["predicted"](net, helper.path), helper.scores)
    assert torch.equal(cells["truth"](helper.path)[7], design.simulate(helper.path[7]))


def test_the_adversarial_cost_of_text_is_the_cost_at_the_end_of_the_gradient(cells):
    torch.manual_seed(1)
    net = Reader(torch.full((9,), 1 / 9), size=6, width=7)
    s = net.vectors(TOKENS).detach().requires_grad_()
    g, = torch.autograd.grad(-cross_entropy(net.read(s, TOKENS), LABELS, reduction="sum"), s)  # of log p, equation 5
    r = torch.stack([-0.7 * one / one.norm() for one in g])
    torch.testing.assert_close(cells["adversarial_text"](net, TOKENS, LABELS, 0.7), cross_entropy(net.read(s + r, TOKENS), LABELS))
    assert cells["adversarial_text"](net, TOKENS, LABELS, 0.7) > cross_entropy(net(TOKENS), LABELS)


def test_the_gradient_of_the_adversarial_cost_reaches_words_and_encoder(cells):
    net = Reader(torch.full((9,), 1 / 9), size=6, width=7)
    cells["adversarial_text"](net, TOKENS, LABELS, 0.5).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in (net.vectors.raw, net.body.weight, net.head.weight))


def test_the_robust_cost_is_that_of_a_worse_neighbour_and_the_conservative_one_wants_speeds_that_fall(cells):
    slope = torch.linspace(-1, 1, 12) * 100
    net, x = (lambda d: d @ slope), torch.full((400, 12), 0.5)
    torch.manual_seed(2)
    cost, largest = cells["robust"](net, x, net(x), eps=0.2), ((0.2 * slope.norm()) / 20).square()  # that of the end of the ball, along the slope
    assert 0.8 * largest < cost <= 1.0001 * largest  # a random end costs 1/12 of it
    torch.manual_seed(2)
    falling = cells["conservative"](lambda d: 200 - cells["FALL"] * (d - 0.5).square().sum(1), x, torch.full((400,), 200.0))
    flat = cells["conservative"](lambda d: torch.full((len(d),), 200.0), x, torch.full((400,), 200.0))
    assert falling < 1e-6 < flat


def test_another_setting_has_its_own_name_so_its_checkpoint_is_not_taken_for_another(cells):
    other = defined("09", ("varied",), {"partial": partial})["varied"](cells["robust"], eps=0.5, steps=4)
    assert other.__name__ == "robust-eps-0.5-steps-4" and cells["robust"].__name__ == "robust"
    net, x = (lambda d: d @ torch.linspace(-1, 1, 12)), torch.full((30, 12), 0.5)
    torch.manual_seed(3)
    expected = cells["robust"](net, x, net(x), eps=0.5, steps=4)
    torch.manual_seed(3)
    torch.testing.assert_close(other(net, x, net(x)), expected)


def test_confirmed_is_what_the_simulator_says_of_the_designs_found():
    torch.manual_seed(4)
    net, fastest, asked = nn.Sequential(nn.Linear(12, 9), nn.Tanh(), nn.Linear(9, 1), nn.Flatten(0)), design.cars(7, generator=torch.Generator().manual_seed(4)), []

    def learn_speed(extra, number):
        asked.append((extra, number))
        return net

    confirmed = defined("09", ("confirmed",), {"design": design, "learn_speed": learn_speed, "fastest": fastest})["confirmed"]
    path = design.ascend(net, fastest, steps=100, step_size=0.02).path
    assert confirmed("the cost", 3) == design.simulate(path[-1]).median() and asked == [("the cost", 3)]
