"""Detectors on models that mislead gradients in known ways, and on honest ones, of which they say nothing."""
from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import nn

from course_utils.attacks import DoubtWarning, doubts

DOUBLE = torch.float64
DIMENSION = 30


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def honest(seed: int = 1, scale: float = 4.0) -> nn.Module:
    """Three classes and a hidden layer, smooth everywhere."""
    net = nn.Sequential(nn.Linear(DIMENSION, 20), nn.Softplus(), nn.Linear(20, 3)).to(DOUBLE).eval()
    with torch.no_grad():
        for layer in (net[0], net[2]):
            layer.weight.copy_(scale * torch.randn(layer.weight.shape, generator=stream(seed), dtype=DOUBLE) / layer.in_features**0.5)
            layer.bias.zero_()
        middle = torch.full((1, DIMENSION), 0.5, dtype=DOUBLE)
        net[2].bias.copy_(-net(middle)[0])  # the three meet in the middle of the box
    return net


NET = honest()
X = torch.rand(100, DIMENSION, generator=stream(), dtype=DOUBLE) * 0.8 + 0.1
X = (X * 16).round() / 16
Y = NET(X).argmax(1)


def look(model, **change) -> tuple:
    """What is found, and what is warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = doubts(model, X, Y, **{"eps": 0.1, "steps": 10, **change})
    return found, [str(one.message) for one in caught if one.category is DoubtWarning]


def rounded(x):
    return NET((8 * x).round() / 8)


def far_apart(x):
    return 1e5 * NET(x)


def probabilities(x):
    return NET(x).softmax(1)


def backwards(x):  # the right answers, the gradient's sign turned round
    return 2 * NET(x).detach() - NET(x)


def only_at_the_pictures(x):  # a slope on the grid on which the pictures lie, and nowhere else
    there = ((16 * x).round() == 16 * x).all(1, keepdim=True).to(x.dtype)
    return NET(x).detach() + there * (NET(x) - NET(x).detach())


def random(x):
    return NET((x + 0.1 * torch.randn_like(x)).clamp(0, 1))


@pytest.mark.parametrize("norm, eps", [("linf", 0.1), ("l2", 0.4)])
def test_an_honest_model_raises_no_doubt(norm, eps):
    for seed in range(3):
        net = honest(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = doubts(net, X, net(X).argmax(1), eps=eps, norm=norm, steps=20, source=NET)
        assert not found and found.reasons == {} and str(found) == "no doubts"
        assert found.figures["fooled by PGD"] > 0.3 and found.figures["fooled without a bound"] == 1


@pytest.mark.parametrize("model, names, word", [
    (probabilities, {"probabilities"}, "probabilities"),
    (rounded, {"no gradient", "transfer", "no bound"}, "rounding"),
    (far_apart, {"no gradient", "transfer", "no bound"}, "slope, so attack with a loss on these"),
    (backwards, {"noise", "transfer", "epsilon", "no bound"}, "the gradient does not lead to what is there"),
    (only_at_the_pictures, {"one step", "transfer", "no bound"}, "a single step fools"),
    (random, {"random"}, "answered differently when asked twice"),
])
@pytest.mark.parametrize("norm, eps", [("linf", 0.1), ("l2", 0.5)])
def test_each_way_of_misleading_is_named_in_words(model, names, word, norm, eps):
    found, warned = look(model, source=NET, norm=norm, eps=eps)
    assert found and names <= set(found.reasons), (found.reasons, found.figures)
    assert word in str(found)
    assert warned == [f"{name}: {reason}" for name, reason in found.reasons.items()]


def test_figures_are_what_was_measured():
    found, _ = look(rounded, source=NET)
    assert found.figures["pictures without gradient"] == found.figures["pictures without gradient of their logit"] == 1
    found, _ = look(far_apart)
    assert found.figures["pictures without gradient"] > 0.5 and found.figures["pictures without gradient of their logit"] == 0
    found, _ = look(random)
    assert found.figures["answers that change"] == 1 and set(found.reasons) == {"random"}
    honestly, _ = look(NET)
    losses = [honestly.figures[f"loss at {eps}"] for eps in ("0", "0.025", "0.05", "0.1", "0.2")]
    assert losses == sorted(losses) and "fooled by transfer" not in honestly.figures


def test_it_repeats_and_leaves_the_model_and_the_random_state_alone():
    model = nn.Sequential(copy.deepcopy(NET), nn.Dropout(0.5)).train()  # dropout is off in eval mode: not random
    before = torch.get_rng_state()
    one, other = look(model)[0], look(model)[0]
    assert one == other and "random" not in one.reasons
    assert model.training and torch.equal(torch.get_rng_state(), before) and all(p.grad is None for p in model.parameters())
    assert look(random, generator=stream(3))[0].figures != look(random, generator=stream(4))[0].figures


def test_a_batch_bounds_memory_only():
    whole, parts = look(NET)[0].figures, look(NET, batch=30)[0].figures
    assert whole == pytest.approx(parts)


@pytest.mark.parametrize("change, named", [
    ({"eps": 0.0}, "eps: "), ({"eps": -0.1}, "eps: "), ({"eps": torch.tensor(0.1)}, "eps: "), ({"norm": "l1"}, "norm: "), ({"steps": 0}, "steps: "),
    ({"source": 3}, "source: "), ({"generator": 3}, "generator: "), ({"batch": 0}, "batch: ")])
def test_bad_settings_are_named(change, named):
    with pytest.raises(ValueError, match=named):
        doubts(NET, X, Y, **{"eps": 0.1, **change})


def test_bad_pictures_labels_and_models_are_named():
    for model, x, y, named in ((NET, X + 1, Y, "x: "), (NET, X, Y[:5], "y: "), (NET, X, Y + 3, "y: "), (3, X, Y, "model: "),
                               (lambda x: NET(x).detach(), X, Y, "model: expected torch operations")):
        with pytest.raises(ValueError, match=named):
            doubts(model, x, y, eps=0.1)


def test_pictures_with_a_gradient_are_looked_at_and_sigmoids_are_doubted():
    x, y = X[:12].clone().requires_grad_(), Y[:12]
    with pytest.warns(DoubtWarning, match="probabilities: the answers all lie in"):
        found = doubts(lambda x: NET(x).sigmoid(), x, y, eps=0.1, steps=2)
    assert "probabilities" in found.reasons and not x.grad
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert "probabilities" not in doubts(lambda x: NET(x).log_softmax(1), x, y, eps=0.1, steps=2).reasons
