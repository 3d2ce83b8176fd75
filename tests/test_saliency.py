"""Adding features against linear models, on which the best ones are known."""
from __future__ import annotations

import pytest
import torch
from torch import nn

from course_utils.attacks import AttackWarning, saliency

DOUBLE = torch.float64


def linear(weights: list[float], bias: float = 0.0) -> nn.Linear:
    """Class 1 where weights . x + bias is above 0."""
    model = nn.Linear(len(weights), 2).to(DOUBLE)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.0] * len(weights), weights]))
        model.bias.copy_(torch.tensor([0.0, bias]))
    return model


def rows(*values: list[int]) -> torch.Tensor:
    return torch.tensor(values, dtype=DOUBLE)


ONE = torch.ones(1, dtype=torch.int64)


def test_the_strongest_absent_features_are_added_until_the_answer_changes():
    model = linear([-1, -4, 2, -3, -0.5, -8], bias=10.5)
    x = rows([0, 0, 1, 0, 0, 1])  # 10.5 + 2 - 8 = 4.5; the strongest feature is there already
    one, two, many = (saliency(model, x, ONE, features=k) for k in (1, 2, 5))
    assert one.tolist() == [[0, 1, 1, 0, 0, 1]]
    assert two.tolist() == many.tolist() == [[0, 1, 1, 1, 0, 1]]
    assert model(many).argmax(1).item() == 0


def test_nothing_is_taken_away_and_nothing_is_added_that_would_not_help():
    model = linear([3, -1, 5, 2], bias=4)
    x = rows([1, 0, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1])
    found = saliency(model, x, torch.ones(3, dtype=torch.int64), features=4)
    assert found.tolist() == [[1, 1, 0, 1], [0, 1, 0, 0], [1, 1, 1, 1]]


def test_targets_are_reached_and_labels_left():
    draw = torch.Generator().manual_seed(0)
    model = nn.Linear(100, 3, bias=False).to(DOUBLE)
    with torch.no_grad():
        model.weight.copy_(torch.randn(3, 100, generator=draw, dtype=DOUBLE))
    x = (torch.rand(30, 100, generator=draw) < 0.3).to(DOUBLE)
    answer = model(x).argmax(1)
    away, there = saliency(model, x, answer), saliency(model, x, (answer + 1) % 3, features=40, targeted=True)
    assert (model(away).argmax(1) != answer).all() and (model(there).argmax(1) == (answer + 1) % 3).all()
    added = (away - x).sum(1)
    assert (away >= x).all() and (added > 0).all() and ((there - x).sum(1) >= added).float().mean() > 0.8
    assert added.mean() < 0.5 * saliency_of_random(model, x, answer, draw).mean()


def saliency_of_random(model, x, answer, draw):
    """How many features are needed when they are added in any order, (N,)."""
    needed = torch.zeros(len(x))
    for i, row in enumerate(x):
        row = row.clone()
        for which in torch.randperm(len(row), generator=draw):
            if model(row[None]).argmax().item() != answer[i]:
                break
            needed[i] += row[which].item() == 0
            row[which] = 1
    return needed


@pytest.mark.parametrize("allowed, wanted", [
    ([0, 0, 1, 1, 1], [[0, 0, 1, 1, 0]]), ([1, 0, 0, 0, 0], [[1, 0, 0, 0, 0]]), ([0, 0, 0, 0, 0], [[0, 0, 0, 0, 0]])])
def test_only_features_that_are_allowed_are_added(allowed, wanted):
    model, x, mask = linear([-1, -9, -3, -2, 1], bias=30), rows([0, 0, 0, 0, 0]), torch.tensor(allowed, dtype=torch.bool)
    assert saliency(model, x, ONE, allowed=mask).tolist() == wanted
    assert torch.equal(saliency(model, x, ONE, allowed=mask[None]), saliency(model, x, ONE, allowed=mask))


def test_a_model_too_sure_for_its_probabilities_still_has_an_order():
    model = linear([-1, -4, 2, -3], bias=800)  # exp(-800) is 0 in float64
    assert saliency(model, rows([0, 0, 0, 0]), ONE, features=2).tolist() == [[0, 1, 0, 1]]


def test_a_partly_present_feature_counts_for_what_is_missing():
    model = linear([-4, -3], bias=10)
    assert saliency(model, torch.tensor([[0.5, 0.0]], dtype=DOUBLE), ONE, features=1).tolist() == [[0.5, 1]]


def test_the_order_is_that_of_the_probabilitys_own_derivative():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 2)).to(DOUBLE)
    x = (torch.rand(20, 12) < 0.4).to(DOUBLE)
    y = model(x).argmax(1)
    z = x.clone().requires_grad_()
    model(z).softmax(1).gather(1, 1 - y[:, None]).sum().backward()
    wanted = (z.grad * (1 - x)).argmax(1)
    added = saliency(model, x, y, features=1) - x
    assert torch.equal(added.argmax(1), wanted) and (added.sum(1) == 1).all()


def test_each_example_stops_by_itself_and_batches_change_nothing():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(30, 20), nn.ReLU(), nn.Linear(20, 2)).to(DOUBLE)
    x = (torch.rand(25, 30) < 0.3).to(DOUBLE)
    y = model(x).argmax(1)
    wrong = y.clone()
    wrong[::5] = 1 - wrong[::5]  # these fool the model as they are
    whole = saliency(model, x, wrong)
    assert torch.equal(whole[::5], x[::5]) and (whole != x).any(1).sum() == 20
    assert torch.equal(whole, saliency(model, x, wrong, batch=4))
    for i in (1, 7):
        assert torch.equal(whole[i : i + 1], saliency(model, x[i : i + 1], wrong[i : i + 1]))


def test_targets_that_are_there_already_are_warned_of():
    with pytest.warns(AttackWarning, match="1 of 1 targets"):
        saliency(linear([-1, 1], bias=2), rows([0, 0]), ONE, targeted=True)


@pytest.mark.parametrize("change, named", [
    ({"x": rows([0, 2])}, "x: "), ({"y": torch.tensor([2])}, "y: "), ({"y": torch.tensor([1.0])}, "y: "), ({"features": 0}, "features: "),
    ({"features": 2.0}, "features: "), ({"allowed": torch.ones(2)}, "allowed: "), ({"allowed": torch.ones(3, dtype=torch.bool)}, "allowed: "),
    ({"allowed": [True, True]}, "allowed: "), ({"batch": 0}, "batch: "),
])
def test_bad_input_is_named(change, named):
    arguments = {"x": rows([0, 1]), "y": ONE, **change}
    x, y = arguments.pop("x"), arguments.pop("y")
    with pytest.raises(ValueError, match=named):
        saliency(linear([-1, 1]), x, y, **arguments)
