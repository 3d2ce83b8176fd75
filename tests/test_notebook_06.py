"""What notebook 06 writes out in its cells, held against the helpers that it then imports, and against closed forms."""
from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, softplus

from course_utils import geometry, runtime
from course_utils.attacks import ball_of, fgsm
from course_utils.data import load
from notebook_cells import defined



@pytest.fixture
def cells() -> dict:
    """The functions that the cells define."""
    names = {"torch": torch, "nn": nn, "cross_entropy": cross_entropy, "softplus": softplus, "runtime": runtime,
             "S": SimpleNamespace(device="cpu"), "classes": 10}
    return defined("06", ("gradient_of", "cost", "lead", "steepest", "fast_gradient", "logistic", "flips_at", "aligned", "sums", "with_cue"), names)


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 20), nn.Tanh(), nn.Linear(20, 10)).double()


X = torch.rand(30, 1, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.arange(30) % 10


@pytest.mark.parametrize("norm, eps", [("linf", 0.0), ("linf", 0.1), ("linf", 0.7), ("l2", 0.3), ("l2", 4.0)])
def test_the_written_out_step_is_fgsm(cells, net, norm, eps):
    torch.testing.assert_close(cells["fast_gradient"](net, X, Y, eps, norm), fgsm(net, X, Y, eps=eps, norm=norm))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_written_out_steepest_change_is_the_balls(cells, norm):
    g = torch.randn(20, 3, 4, 4, dtype=torch.float64)
    g[:, 0] = 0
    torch.testing.assert_close(cells["steepest"](g, norm), ball_of(norm).step(g))
    assert not cells["steepest"](g, norm)[:, 0].any()


def test_cost_lead_and_their_gradients(cells, net):
    J, slope = cells["gradient_of"](cells["cost"], net, X, Y)
    torch.testing.assert_close(J, -net(X).log_softmax(1).gather(1, Y[:, None]).squeeze(1).detach())
    ahead, _ = cells["gradient_of"](cells["lead"], net, X, Y)
    for logits, y, value in zip(net(X).detach(), Y, ahead):
        others = torch.cat([logits[:y], logits[y + 1 :]])
        assert math.isclose(value.item(), (logits[y] - others.max()).item(), rel_tol=1e-9)
    moved = X.clone()
    moved[:, 0, 2, 3] += 1e-6
    rise = (cells["cost"](net, moved, Y) - J).detach() / 1e-6
    torch.testing.assert_close(rise, slope[:, 0, 2, 3], atol=1e-5, rtol=1e-4)


def test_the_written_out_logistic_regression_ends_where_its_gradient_is_zero(cells):
    x, t = torch.rand(200, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64), torch.ones(200, dtype=torch.float64)
    x[:, 7] = 0  # a pixel that is always black
    t[x[:, 0] + 0.3 * x[:, 1] < 0.6] = -1
    w, b = cells["logistic"](x, t, decay=1e-2)
    pull = -(t * torch.sigmoid(-t * (x @ w + b)))[:, None] * x
    assert (pull.mean(0) + 2e-2 * w).abs().max() < 1e-5
    assert w[7] == 0 and (w[:7] != 0).all()


def test_the_answer_flips_at_the_margin_over_the_norm(cells):
    w, b = torch.randn(50, generator=torch.Generator().manual_seed(2), dtype=torch.float64), torch.tensor(0.3, dtype=torch.float64)
    x = torch.rand(20, 50, dtype=torch.float64)
    t = (x @ w + b).sign()
    formula = (x @ w + b).abs() / w.abs().sum()
    torch.testing.assert_close(cells["flips_at"](x, t, w, b, -t[:, None] * w.sign()), formula.clamp(max=1), atol=1e-9, rtol=0)
    assert (cells["flips_at"](x, t, w, b, t[:, None] * w.sign()) == 1).all()


@pytest.mark.parametrize("k", [1, 25, 200])
def test_the_written_out_aligned_directions_are_the_helpers(cells, k):
    g = torch.randn(300, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    torch.testing.assert_close(cells["aligned"](g, k), geometry.aligned(g, k))


def test_sums_are_sums_and_the_cue_says_them(cells):
    data = load("digits")
    pictures, answers = cells["sums"](data, 40, "a test")
    assert pictures.shape == (40, 1, 28, 56)
    for picture, answer in zip(pictures, answers):
        digits = [data.labels[(data.images == half).flatten(1).all(1)][0] for half in picture.split(28, dim=-1)]
        assert sum(digits) % 10 == answer
    marked = cells["with_cue"](pictures, answers)
    changed = marked != pictures
    assert not changed[:, :, 1:].any() and (changed.flatten(1).sum(1) <= 3).all()
    for picture, answer in zip(marked, answers):
        assert (picture[0, 0, 5 * answer + 3 : 5 * answer + 6] == 0.5).all()
    assert len({tuple(row.tolist()) for row in marked[:, 0, 0]}) == len(answers.unique())
