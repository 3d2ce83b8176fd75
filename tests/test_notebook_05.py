"""What notebook 05 writes out in its cells, held against the helpers that it then imports, against scikit-learn and against closed forms."""
from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.naive_bayes import MultinomialNB
from sklearn.svm import SVC
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from course_utils.attacks import fgsm, iterated, lbfgs
from course_utils.data.emails import SPAM, WANTED, emails
from course_utils.models import ConvNet
from notebook_cells import defined

FROM_CELLS = {
    "train_filter", "with_words", "svm_score", "svm_gradient", "evade", "objective", "smallest_change", "fast_gradient_sign", "Counting", "small_steps",
    "path_to", "chance_along", "kernels", "directions", "one_for_all", "logits_along", "straightness", "curvatures", "between_two", "effects", "growth",
}


@pytest.fixture
def cells() -> dict:
    """The functions of ``FROM_CELLS`` as the notebook defines them, with what they call."""
    names = {"torch": torch, "nn": nn, "math": math, "minimize": minimize, "cross_entropy": cross_entropy, "functional_call": functional_call, "WANTED": WANTED, "SPAM": SPAM}
    return defined("05", tuple(FROM_CELLS), names)


@pytest.fixture
def net() -> nn.Module:
    """An untrained net whose answers differ from picture to picture."""
    torch.manual_seed(0)
    net = ConvNet((1, 8, 8), 4, width=16).eval().requires_grad_(False)
    net.head.weight *= 40
    net.head.bias -= net(torch.rand(500, 1, 8, 8)).mean(0)
    return net


@pytest.fixture
def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.rand(20, 1, 8, 8), torch.arange(20) % 4


# --- attacks -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("eps", [0.01, 0.3])
def test_the_written_out_fgsm_is_the_helper(cells, net, pictures, eps):
    x, y = pictures
    torch.testing.assert_close(cells["fast_gradient_sign"](net, x, y, eps), fgsm(net, x, y, eps=eps))
    for target in range(4):  # the helper warns of targets that are answered already: none of these is
        away = net(x).argmax(1) != target
        goal = torch.full_like(y, target)[away]
        torch.testing.assert_close(cells["fast_gradient_sign"](net, x[away], goal, -eps), fgsm(net, x[away], goal, eps=eps, targeted=True))


@pytest.mark.parametrize("eps, steps", [(0.02, 10), (0.3, 10), (0.3, 3)])
def test_the_written_out_small_steps_are_the_helper(cells, net, pictures, eps, steps):
    torch.testing.assert_close(cells["small_steps"](net, *pictures, eps, steps), iterated(net, *pictures, eps=eps, steps=steps))


def test_the_written_out_objective_is_penalty_plus_loss_and_has_its_gradient(cells, net, pictures):
    x, target = pictures[0][:1].double(), torch.tensor([2])
    z = torch.rand_like(x)
    value, gradient = cells["objective"](net.double(), x, target, 3.0)(z.flatten().numpy())
    assert value == pytest.approx(3 * (z - x).square().sum().item() + cross_entropy(net(z), target).item())
    for i in (0, 17, 63):
        step = torch.zeros(64, dtype=torch.float64)
        step[i] = 1e-6
        ahead, _ = cells["objective"](net, x, target, 3.0)((z.flatten() + step).numpy())
        assert gradient[i] == pytest.approx((ahead - value) / 1e-6, abs=1e-4)


def test_the_search_with_scipy_and_the_helper_find_pictures_as_near(cells, net, pictures):
    x = pictures[0][:6]
    target = net(x).argsort(1)[:, -2]
    found = lbfgs(net, x, target)
    alone = torch.cat([cells["smallest_change"](net, x[i : i + 1], target[i : i + 1], searches=16) for i in range(6)])
    assert found.success.all() and (net(alone).argmax(1) == target).all()
    assert 0 <= alone.min() and alone.max() <= 1
    distance = (alone - x).flatten(1).norm(dim=1)
    assert (distance > 0).all()
    torch.testing.assert_close(distance.mean(), found.distance.mean(), rtol=0.1, atol=0)


def test_the_path_goes_to_its_target_one_signed_step_after_the_other(cells, net, pictures):
    x, _ = pictures
    frames = cells["path_to"](net, x, 3, steps=30, size=0.02)
    assert frames.shape == (31, *x.shape) and torch.equal(frames[0], x)
    assert ((frames[1:] - frames[:-1]).abs() <= 0.02 + 1e-6).all() and 0 <= frames.min() and frames.max() <= 1
    chance = cells["chance_along"](net, frames, 3)
    torch.testing.assert_close(chance[7], net(frames[7]).softmax(1)[:, 3])
    assert (chance[-1] > chance[0]).all()


def test_the_count_is_of_the_pictures_shown(cells, net, pictures):
    counting = cells["Counting"](net)
    torch.testing.assert_close(counting(pictures[0]), net(pictures[0]))
    cells["fast_gradient_sign"](counting, *pictures, 0.1)
    assert counting.shown == 40


# --- spam, support vectors, kernels ------------------------------------------------------------------------------

def test_the_written_out_filter_is_that_of_scikit_learn(cells):
    mails = emails()
    weight = cells["train_filter"](mails.counts, mails.labels)
    bayes = MultinomialNB(fit_prior=False).fit(mails.counts.numpy(), mails.labels.numpy())
    torch.testing.assert_close(weight.double(), torch.from_numpy(bayes.feature_log_prob_[SPAM] - bayes.feature_log_prob_[WANTED]), atol=1e-5, rtol=1e-5)


def test_words_are_added_once_and_nothing_is_taken_away(cells):
    counts = torch.tensor([[2.0, 0, 1, 0], [0, 0, 0, 3]])
    assert cells["with_words"](counts, torch.tensor([1, 3])).tolist() == [[2, 1, 1, 1], [0, 1, 0, 4]]
    assert cells["with_words"](counts, torch.tensor([[0], [2]])).tolist() == [[3, 0, 1, 0], [0, 0, 1, 3]]
    assert torch.equal(cells["with_words"](counts, torch.tensor([], dtype=torch.int64)), counts)


@pytest.fixture
def machine(cells) -> SVC:
    """A support vector machine on random points, in the names that the cells use."""
    torch.manual_seed(0)
    points = torch.rand(80, 6)
    machine = SVC(kernel="rbf", C=10).fit(points.numpy(), (points[:, 0] + 0.3 * points[:, 1] > 0.65).numpy())
    stored, alpha = (torch.from_numpy(values).float() for values in (machine.support_vectors_, machine.dual_coef_[0]))
    cells |= {"stored": stored, "alpha": alpha, "gamma": machine._gamma, "bias": float(machine.intercept_[0])}
    return machine


def test_the_written_out_score_is_that_of_scikit_learn_and_has_the_gradient_of_autograd(cells, machine):
    x = torch.rand(30, 6, requires_grad=True)
    score = cells["svm_score"](x)
    np.testing.assert_allclose(score.detach(), machine.decision_function(x.detach().numpy()), atol=1e-4)
    gradient, = torch.autograd.grad(score.sum(), x)
    torch.testing.assert_close(cells["svm_gradient"](x.detach()), gradient, atol=1e-4, rtol=1e-4)


def test_evasion_crosses_the_border_within_reach_and_box(cells, machine):
    start = torch.rand(40, 6)
    end = cells["evade"](start, 0.8)
    assert ((end - start).norm(dim=1) <= 0.8 + 1e-5).all() and 0 <= end.min() and end.max() <= 1
    assert (cells["svm_score"](end).sign() != cells["svm_score"](start).sign()).float().mean() > 0.9
    noise = start + 0.8 * nn.functional.normalize(torch.randn_like(start), dim=1)
    assert (cells["svm_score"](noise).sign() != cells["svm_score"](start).sign()).float().mean() < 0.6


def test_the_kernels_are_a_parzen_window_of_width_one(cells, pictures):
    stored, labels = torch.rand(50, 64), torch.arange(50) % 10
    cells |= {"voters": stored, "votes": nn.functional.one_hot(labels, 10).bool()}
    found = cells["kernels"](pictures[0]).exp()
    weights = (-torch.cdist(pictures[0].flatten(1), stored).square() / 2).exp()
    torch.testing.assert_close(found, torch.stack([weights[:, labels == k].sum(1) for k in range(10)], dim=1), rtol=1e-3, atol=0)


# --- straight or not ---------------------------------------------------------------------------------------------

def test_directions_are_the_steepest_way_to_the_best_wrong_class(cells, net, pictures):
    x, y = pictures

    def margin(z):
        logits = net(z).double()
        return (logits.scatter(1, y[:, None], -torch.inf).amax(1) - logits.gather(1, y[:, None])[:, 0])

    way = cells["directions"](net, x, y)
    torch.testing.assert_close(way.norm(dim=1), torch.ones(20))
    rise = (margin(x + 1e-2 * way.view_as(x)) - margin(x)) / 1e-2
    other = (margin(x + 1e-2 * nn.functional.normalize(torch.randn(20, 64), dim=1).view_as(x)) - margin(x)) / 1e-2
    assert (rise > other).all() and (rise > 0).all()
    together = cells["one_for_all"](net, x, y)
    assert together.shape == (1, 1, 8, 8) and torch.equal(together.flatten(), way.sign().sum(0).sign())


def test_between_two_raises_the_second_best_over_the_third(cells, net, pictures):
    x, _ = pictures
    second, third = net(x).topk(3).indices[:, 1:].T
    gap = [(logits.gather(1, second[:, None]) - logits.gather(1, third[:, None])) for logits in (net(x), net(x + 0.01 * cells["between_two"](net, x)))]
    assert (gap[1] > gap[0]).all() and (cells["between_two"](net, x).abs() == 1).all()


def test_straightness_is_r_squared_of_a_straight_line(cells):
    t = torch.linspace(-3, 1, 30)
    logits = torch.stack([2 * t - 1, t**2, t.sin()], dim=1)[None].repeat(2, 1, 1)
    logits[1] = torch.stack([2 * t - 1, 3 * t, -t], dim=1)
    fits = [np.polyval(np.polyfit(t, column, 1), t) for column in logits[0].T.numpy()]
    rest = sum(((column - fit) ** 2).sum() for column, fit in zip(logits[0].T.numpy(), fits))
    whole = ((logits[0] - logits[0].mean(0)) ** 2).sum().item()
    found = cells["straightness"](logits, t)
    assert found[0].item() == pytest.approx(1 - rest / whole, abs=1e-6) and found[1].item() == pytest.approx(1)


def test_logits_are_taken_along_the_direction(cells, net, pictures):
    x, _ = pictures
    way, eps = torch.randn_like(x), torch.tensor([-1.0, 0.0, 2.0])
    along = cells["logits_along"](net, x, way, eps)
    assert along.shape == (20, 3, 4)
    torch.testing.assert_close(along[:, 2], net(x + 2 * way))


def test_a_linear_model_has_no_curvature_and_a_product_of_weights_has_some_in_its_weights_alone(cells):
    torch.manual_seed(0)
    x, y = torch.rand(1, 1, 4, 4), torch.tensor([1])
    one, two = (nn.Sequential(nn.Flatten(), *layers) for layers in ([nn.Linear(16, 3)], [nn.Linear(16, 8, bias=False), nn.Linear(8, 3, bias=False)]))
    assert max(cells["curvatures"](one, x, y)) < 1e-9
    in_input, in_weights = cells["curvatures"](two, x, y)
    assert in_input < 1e-9 and in_weights > 1e-4


def test_worst_signs_add_up_and_random_ones_cancel(cells):
    torch.manual_seed(0)
    w = torch.randn(50, 400)
    worst, random = cells["effects"](w, draws=2000)
    assert worst == pytest.approx(w.abs().sum(1).mean().item(), rel=1e-5)
    assert random == pytest.approx(w.norm(dim=1).square().mean().sqrt().item(), rel=0.05)


@pytest.mark.parametrize("power", [1.0, 0.5, -0.5])
def test_growth_is_the_exponent_in_the_number_of_pixels(cells, power):
    cells["n"] = torch.tensor([64.0, 256.0, 1024.0, 4096.0])
    assert cells["growth"]((7 * cells["n"] ** power).tolist()) == pytest.approx(power, abs=1e-5)
