"""Box-constrained L-BFGS against distances that are known, against failure, and against bad input."""
from __future__ import annotations

import pytest
import torch
from torch import nn

from course_utils import data
from course_utils.attacks import AttackWarning, fgsm, lbfgs
from course_utils.attacks.call import Lent
from course_utils.attacks.lbfgs import _Curvature, _Goal, _Search
from course_utils.models import ConvNet
from course_utils.training import fit

DOUBLE = torch.float64


def points(count: int, dimension: int = 20, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, dimension, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def planes(classes: int, dimension: int = 20, scale: float = 30.0, seed: int = 1) -> nn.Linear:
    """A linear model; ``scale`` makes it sure of itself, so that its softmax is nearly a maximum."""
    model = nn.Linear(dimension, classes).to(DOUBLE)
    with torch.no_grad():
        model.weight.copy_(scale * torch.randn(classes, dimension, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE) / dimension**0.5)
        model.bias.copy_(-model.weight.sum(1) / 2)  # the planes go through the middle of the box
    return model


def margins(model: nn.Linear, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How far each class is below y in the logits, (N, K), and the length of the weights of that difference."""
    logits, weight = model(x).detach(), model.weight.detach()
    return logits.gather(1, y[:, None]) - logits, (weight[y][:, None] - weight).norm(dim=2)


def nearest_in_box(x: torch.Tensor, way: torch.Tensor, needed: torch.Tensor) -> torch.Tensor:
    """The length of the shortest r with way . r = needed and x + r in [0, 1]: r = clamp(x + t way) - x, t by bisection."""
    low, high = torch.zeros_like(needed), torch.full_like(needed, 1e3)
    for _ in range(100):
        middle = (low + high) / 2
        r = (x + middle[:, None] * way).clamp(0, 1) - x
        enough = (r * way).sum(1) >= needed
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    return r.norm(dim=1)


# ---- distances that are known ------------------------------------------------------------------------


def test_two_classes_of_a_linear_model_are_a_margin_apart():
    x, model = 0.25 + points(40) / 2, planes(2)  # far from the walls of the box
    y = model(x).argmax(1)
    gaps, lengths = margins(model, x, y)
    distance = (gaps / lengths).gather(1, 1 - y[:, None]).squeeze(1)
    near = distance < 0.2
    assert near.sum() >= 8
    for found in (lbfgs(model, x, 1 - y), lbfgs(model, x, y, targeted=False)):
        assert found.success.all() and (model(found.x_adv).argmax(1) == 1 - y).all()
        torch.testing.assert_close(found.distance[near], distance[near], rtol=2e-3, atol=0)
        torch.testing.assert_close((found.x_adv - x).norm(dim=1), found.distance)
        assert (found.distance > 0.9999 * distance).all()  # nothing is nearer than the border


def test_walls_of_the_box_are_kept_to_and_used():
    x, model = points(40).round(decimals=0) * 0.98 + 0.01, planes(2)  # next to the walls
    y = model(x).argmax(1)
    gaps, lengths = margins(model, x, y)
    needed = gaps.gather(1, 1 - y[:, None]).squeeze(1)
    way = model.weight.detach()[1 - y] - model.weight.detach()[y]
    wanted = nearest_in_box(x, way, needed)
    assert (wanted > 1.05 * needed / way.norm(dim=1)).float().mean() > 0.8  # the walls are in the way of most
    found = lbfgs(model, x, 1 - y)
    assert found.success.all() and found.x_adv.min() >= 0 and found.x_adv.max() <= 1
    torch.testing.assert_close(found.distance, wanted, rtol=0.01, atol=0)


def test_untargeted_goes_to_the_nearest_of_several_classes_and_targeted_to_the_one_asked_for():
    x, model = 0.4 + points(60) / 5, planes(4, scale=60)
    y = model(x).argmax(1)
    gaps, lengths = margins(model, x, y)
    each = (gaps / lengths).nan_to_num(0).scatter(1, y[:, None], torch.inf)
    free = (each.amin(1) < 0.1) & (each.amin(1) > 0.02)  # nearer, all classes are nearly as likely: no maximum yet
    assert free.sum() >= 8
    found = lbfgs(model, x, y, targeted=False)
    torch.testing.assert_close(found.distance[free], each.amin(1)[free], rtol=0.03, atol=0)
    far = each.scatter(1, y[:, None], -1).argmax(1)
    reached = lbfgs(model, x, far)
    assert (model(reached.x_adv).argmax(1) == far).all() and (reached.distance > found.distance).all()


class Ball(nn.Module):
    """Class 0 within ``radius`` of ``centre``, class 1 outside."""

    def __init__(self, centre: torch.Tensor, radius: float) -> None:
        super().__init__()
        self.centre, self.radius = centre, radius

    def forward(self, x):
        inside = self.radius**2 - (x - self.centre).square().sum(1)
        return 200 * torch.stack([inside, -inside], 1)


def test_out_of_a_ball_and_into_one_by_the_radius():
    centre = torch.full((20,), 0.5, dtype=DOUBLE)
    model = Ball(centre, 0.4)
    way = points(20) - 0.5
    x = centre + way / way.norm(dim=1, keepdim=True) * torch.tensor([0.1, 0.3, 0.45, 0.48], dtype=DOUBLE).repeat(5)[:, None]
    found = lbfgs(model, x, model(x).argmax(1), targeted=False)
    torch.testing.assert_close(found.distance, ((x - centre).norm(dim=1) - 0.4).abs(), rtol=0.02, atol=0)


# ---- the estimate of the curvature -------------------------------------------------------------------


@pytest.mark.parametrize("free", [[1, 1, 1, 1, 1], [1, 0, 1, 1, 0]])
def test_the_newest_pair_is_met_exactly_by_the_direction(free):
    draw = torch.Generator().manual_seed(0)
    half = torch.randn(3, 5, 5, generator=draw, dtype=DOUBLE)
    bend, c, free = half @ half.mT + torch.eye(5), torch.tensor([0.5, 1, 2], dtype=DOUBLE), torch.tensor(free, dtype=DOUBLE)
    curvature = _Curvature(torch.zeros(3, 5, dtype=DOUBLE), memory=3)
    for _ in range(5):  # more than it can remember
        s = torch.randn(3, 5, generator=draw, dtype=DOUBLE) * free
        change = (bend @ s[:, :, None]).squeeze(2)
        curvature.learn(torch.ones(3, dtype=torch.bool), s, change)
    y = change + 2 * c[:, None] * s
    torch.testing.assert_close(curvature.direction(y, c, free.expand(3, 5)), -s)  # the secant equation
    gradient = torch.randn(3, 5, generator=draw, dtype=DOUBLE)
    way = curvature.direction(gradient, c, free.expand(3, 5))
    assert ((way * gradient).sum(1) < 0).all() and (way[:, free == 0] == 0).all()


def test_without_pairs_the_direction_is_the_penaltys_own_and_rows_learn_by_themselves():
    curvature, c = _Curvature(torch.zeros(2, 3, dtype=DOUBLE), memory=2), torch.tensor([1.0, 4.0], dtype=DOUBLE)
    gradient, free = torch.tensor([[1.0, 2, 3], [4, 5, 6]], dtype=DOUBLE), torch.ones(2, 3, dtype=DOUBLE)
    torch.testing.assert_close(curvature.direction(gradient, c, free), -gradient / (2 * c[:, None]))
    curvature.learn(torch.tensor([False, True]), torch.ones(2, 3, dtype=DOUBLE), torch.ones(2, 3, dtype=DOUBLE))
    torch.testing.assert_close(curvature.direction(gradient, c, free)[0], -gradient[0] / 2)
    assert not torch.allclose(curvature.direction(gradient, c, free)[1], -gradient[1] / 8)


def test_values_that_the_box_holds_have_no_part_in_the_direction():
    model, x = planes(2), torch.tensor([[0.0], [1.0]], dtype=DOUBLE).expand(2, 20).contiguous()
    search = _Search(_Goal(Lent(model), x.shape[1:], DOUBLE, True), x, 1 - model(x).argmax(1), searches=3, steps=3, memory=3)
    out = torch.where(x == 0, search.slope > 0, search.slope < 0)  # downhill leads out of the box
    assert 5 < out.sum() < 35 and (search.way[out] == 0).all() and (search.way[~out] != 0).all()


def test_curvature_saves_gradients_where_directions_differ():
    scales = torch.logspace(0, 1.5, 20, dtype=DOUBLE)

    def model(x):
        far = ((x - 0.5) * scales).square().sum(1) * 20
        return torch.stack([10 - far, 0 * far], 1)

    x = 0.5 + (points(30) - 0.5) * 0.02
    y = model(x).argmax(1)
    assert (y == 0).all()
    long, short = (lbfgs(model, x, y, targeted=False, memory=m) for m in (8, 1))
    assert long.success.all() and long.gradients.sum() <= 1.05 * short.gradients.sum()
    assert long.distance.mean() <= 1.001 * short.distance.mean()


# ---- failure is said, never hidden -------------------------------------------------------------------


def test_a_failure_returns_the_picture_itself_and_leaves_the_others_alone():
    model, x = planes(2), points(6)

    def third(x):  # a class that no point of the box reaches
        logits = model(x)
        return torch.cat([logits, logits.amin(1, keepdim=True) - 50], 1)

    y = 1 - model(x).argmax(1)
    mixed = y.clone()
    mixed[2:4] = 2
    found, alone = lbfgs(third, x, mixed), lbfgs(third, x[[0, 1, 4, 5]], y[[0, 1, 4, 5]])
    assert found.success.tolist() == [True, True, False, False, True, True]
    assert found.distance.isnan().tolist() == (~found.success).tolist()
    assert torch.equal(found.x_adv[2:4], x[2:4])
    torch.testing.assert_close(found.x_adv[[0, 1, 4, 5]], alone.x_adv)


def test_without_a_gradient_it_fails_soon():
    def flat(x):
        return torch.stack([0 * x.sum(1) + 3, 0 * x.sum(1)], 1)

    found = lbfgs(flat, points(3), torch.ones(3, dtype=torch.int64))
    assert not found.success.any() and torch.equal(found.x_adv, points(3)) and (found.gradients <= 15).all()


def test_what_is_there_already_costs_one_gradient_and_is_warned_of():
    model, x = planes(3), points(5)
    with pytest.warns(AttackWarning, match="5 of 5 targets"):
        found = lbfgs(model, x, model(x).argmax(1))
    assert found.success.all() and torch.equal(found.x_adv, x) and (found.distance == 0).all() and (found.gradients == 1).all()


@pytest.mark.parametrize("targeted", [True, False])
def test_a_tie_is_no_success(targeted):
    def level(x):
        return torch.stack([x[:, 0] * 0, x[:, 0] * 0], 1)

    found = lbfgs(level, points(3), torch.ones(3, dtype=torch.int64), targeted=targeted)
    assert not found.success.any()


def test_gradients_are_counted_as_they_are_computed():
    model, calls = planes(2), []

    def counting(x):
        calls.append(len(x)) if x.requires_grad else None
        return model(x)

    x = points(7)
    found = lbfgs(counting, x, model(x).argmax(1), targeted=False)
    assert sum(calls) == found.gradients.sum() and found.gradients.min() > 1


# ---- a net, and how it is called ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def net_and_pictures():
    digits, test = data.load("digits"), data.load("digits", split="test").take(60)
    torch.manual_seed(0)
    net = ConvNet(digits.shape, 10)
    fit(net, digits, epochs=3, batch=64, seed=0, progress=False)
    return net, test.images, test.labels


def test_nearly_every_target_is_reached_at_less_than_half_of_fgsms_distance(net_and_pictures):
    net, x, labels = net_and_pictures
    y = (labels + torch.randint(1, 10, (len(x),), generator=torch.Generator().manual_seed(0))) % 10
    away = net(x).argmax(1) != y
    found = lbfgs(net, x[away], y[away])
    assert found.success.all() and found.distance.min() > 0
    assert (net(found.x_adv).argmax(1) == y[away]).all()
    right = net(x).argmax(1) == labels
    near = lbfgs(net, x[right], labels[right], targeted=False)
    step = (fgsm(net, x[right], labels[right], eps=0.25) - x[right]).flatten(1).norm(dim=1)
    assert near.success.all() and near.distance.mean() < 0.5 * step.mean()


def test_more_values_of_c_and_the_way_back_only_shorten_the_distance(net_and_pictures):
    net, x, labels = net_and_pictures
    short, long = (lbfgs(net, x[:20], labels[:20], targeted=False, searches=n) for n in (3, 12))
    assert long.distance.nansum() <= 1.01 * short.distance.nansum() and (long.gradients >= short.gradients).all()
    back = x[:20] + 0.97 * (long.x_adv - x[:20])
    held = (net(back).argmax(1) != labels[:20]) & (long.distance > 0)
    assert not held.any()  # nothing is left to be gained on the line


def test_the_batch_bounds_memory_and_changes_nothing_else(net_and_pictures):
    net, x, labels = net_and_pictures
    net, x, labels = net.double(), x[:12].double(), labels[:12]
    whole, parts = (lbfgs(net, x, labels, targeted=False, batch=n) for n in (12, 5))
    assert whole.x_adv.dtype == DOUBLE and whole.distance.dtype == DOUBLE
    torch.testing.assert_close(whole.x_adv, parts.x_adv, rtol=0, atol=1e-6)
    net.float()


def test_half_precision_pictures_are_searched_in_single_and_checked_as_they_are_returned():
    model = planes(2)
    x = (0.25 + points(10) / 2).half()
    half = lambda x: model(x.double())  # noqa: E731
    found = lbfgs(half, x, half(x).argmax(1), targeted=False)
    assert found.x_adv.dtype == torch.float16 and found.success.all()
    assert (half(found.x_adv).argmax(1) != half(x).argmax(1)).all()


@pytest.mark.parametrize("change, named", [
    ({"x": points(3) + 1}, "x: "), ({"x": points(3) * torch.nan}, "x: "), ({"x": points(3).long()}, "x: "),
    ({"y": torch.tensor([0, 1, -1])}, "y: "), ({"y": torch.tensor([0, 1, 5])}, "y: "), ({"y": torch.zeros(3)}, "y: "),
    ({"y": torch.zeros(3, 1, dtype=torch.int64)}, "y: "), ({"searches": 0}, "searches: "), ({"steps": 1.5}, "steps: "),
    ({"memory": 0}, "memory: "), ({"batch": 0}, "batch: "), ({"model": None}, "model: "),
])
def test_bad_input_is_named(change, named):
    arguments = {"model": planes(2), "x": points(3), "y": torch.tensor([0, 1, 0]), **change}
    model, x, y = (arguments.pop(name) for name in ("model", "x", "y"))
    with pytest.raises(ValueError, match=named):
        lbfgs(model, x, y, **arguments)


def test_the_model_is_asked_in_full_precision_and_the_switches_are_put_back():
    seen = set()

    def model(x):
        seen.add((torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()))
        return torch.stack([x.flatten(1).sum(1), 2 - x.flatten(1).sum(1)], dim=1)

    before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    try:
        torch.backends.cudnn.allow_tf32 = True
        torch.set_float32_matmul_precision("high")
        lbfgs(model, torch.full((2, 1, 2, 2), 0.4), torch.ones(2, dtype=torch.int64))
        assert seen == {(False, "highest")}
        assert (torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()) == (True, "high")
    finally:
        torch.backends.cudnn.allow_tf32 = before[0]
        torch.set_float32_matmul_precision(before[1])
