"""Means over transformations and over models: their gradients, their randomness, what they are worth to an attack."""
from __future__ import annotations

import math
import warnings
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from course_utils.attacks import AttackWarning, Ensemble, cross_entropies, ensemble, expectation, fgsm, log_losses, pgd

DOUBLE = torch.float64


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def net(outputs: int = 3) -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, outputs)).to(DOUBLE).eval()


def shaken(x, generator):
    """A transformation that moves every value by up to a quarter."""
    return (x + (torch.rand(x.shape, generator=generator, dtype=x.dtype) - 0.5) / 2).clamp(0, 1)


X, Y = torch.rand(5, 6, dtype=DOUBLE, generator=torch.Generator().manual_seed(3)), torch.tensor([0, 1, 2, 0, 1])

# ---- expectation over transformations ----------------------------------------------------------------


@pytest.mark.parametrize("mean, of", [
    ("probabilities", lambda logits: logits.softmax(2).mean(0).log()),
    ("log probabilities", lambda logits: logits.log_softmax(2).mean(0)),
    ("logits", lambda logits: logits.mean(0)),
])
def test_the_answer_is_the_mean_over_all_draws(mean, of):
    model, draws = net(), 4
    seen = torch.stack([shaken(one.repeat(draws, 1), torch.Generator().manual_seed(7)) for one in X], dim=1)
    wanted = of(torch.stack([model(one) for one in seen]))
    got = expectation(model, shaken, draws=draws, mean=mean, generator=torch.Generator().manual_seed(7))(X)
    torch.testing.assert_close(got, wanted)


def test_the_gradient_of_mean_log_probabilities_is_the_mean_of_the_gradients():
    model, draws, x = net(), 4, X.clone().requires_grad_()
    seen = torch.stack([shaken(one.repeat(draws, 1), torch.Generator().manual_seed(7)) for one in x], dim=1).flatten(0, 1)
    each = F.cross_entropy(model(seen), Y.repeat(draws), reduction="none").view(draws, 5)
    wanted, = torch.autograd.grad(each.mean(0).sum(), x)
    averaged = expectation(model, shaken, draws=draws, mean="log probabilities", generator=torch.Generator().manual_seed(7))
    got, = torch.autograd.grad(log_losses(averaged(x), Y).sum(), x)
    torch.testing.assert_close(got, wanted)
    torch.testing.assert_close(log_losses(averaged(x), Y), each.mean(0))


def test_with_a_generator_the_model_is_fixed_and_without_one_it_is_fresh_at_every_call():
    stream = torch.Generator().manual_seed(1)
    fixed, fresh = expectation(net(), shaken, generator=stream), expectation(net(), shaken)
    assert torch.equal(fixed(X), fixed(X)) and not torch.equal(fresh(X), fresh(X))
    assert not torch.equal(fixed(X), expectation(fixed.net, shaken, generator=torch.Generator().manual_seed(2))(X))
    assert torch.equal(stream.get_state(), torch.Generator().manual_seed(1).get_state())  # nobody drew from it


def test_with_a_generator_a_picture_s_answer_does_not_depend_on_the_others():
    fixed = expectation(net(), shaken, draws=3, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(fixed(X)[2:], fixed(X[2:]), rtol=0, atol=1e-12)
    attack = partial(pgd, fixed, X, Y, eps=0.1, steps=3)
    torch.testing.assert_close(attack(batch=2), attack(batch=5), rtol=0, atol=1e-9)


@pytest.mark.parametrize("wrapped", [lambda model: ensemble([model, model]), lambda model: expectation(model, shaken)], ids=["ensemble", "expectation"])
def test_probabilities_are_warned_of_behind_a_wrapper_once(wrapped):
    model = wrapped(nn.Sequential(net(), nn.Softmax(1)))
    with pytest.warns(AttackWarning, match="look like probabilities") as told:
        model(X), model(X)
    assert len(told) == 1 + isinstance(model, Ensemble)  # each of two members


def test_pgd_repeats_from_its_own_generator_and_leaves_the_global_stream_alone():
    attack = partial(pgd, expectation(net(), shaken, draws=3), X, Y, eps=0.1, norm="l2", steps=3)
    before = torch.get_rng_state()
    one, other = (attack(generator=torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one, other) and torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(one, attack(generator=torch.Generator().manual_seed(6)))


def test_a_picture_that_has_to_survive_a_shift_is_found_by_the_expectation_alone():
    def shifted(x, generator):  # by none, one or two places
        by = torch.randint(3, (len(x),), generator=generator)
        return torch.stack([row.roll(int(n)) for row, n in zip(x, by)])

    def model(x):  # class 0, unless the pattern is there
        return torch.stack([6 - 12 * (x - 0.5) @ torch.tensor([1.0, -1, 1, 1, -1, 1], dtype=x.dtype), x[:, 0] * 0], 1)

    x, y = torch.full((40, 6), 0.5, dtype=DOUBLE), torch.zeros(40, dtype=torch.int64)
    plain = pgd(model, x, y, eps=0.4, steps=20)
    robust = pgd(expectation(model, shifted, draws=30), x, y, eps=0.4, steps=20)
    fooled = [model(shifted(adv.repeat(50, 1), torch.Generator().manual_seed(0))).argmax(1).double().mean().item() for adv in (plain, robust)]
    assert fooled[0] < 0.4 and fooled[1] > 0.6  # the pattern itself survives one shift in three
    assert cross_entropies(model(plain), y).mean() > cross_entropies(model(robust), y).mean()


def test_modes_parameters_and_functions_are_handed_through():
    model = net().train()
    wrapped = expectation(model, shaken, draws=2)
    assert [id(p) for p in wrapped.parameters()] == [id(p) for p in model.parameters()]
    fgsm(wrapped, X, Y, eps=0.1)
    assert model.training and all(p.grad is None for p in model.parameters())
    plain = expectation(lambda x: model(x), shaken, draws=2, generator=torch.Generator().manual_seed(1))
    model.eval()
    assert torch.equal(plain(X), expectation(model, shaken, draws=2, generator=torch.Generator().manual_seed(1))(X))


@pytest.mark.parametrize("change, named", [
    ({"model": 3}, "model: "), ({"transform": None}, "transform: "), ({"draws": 0}, "draws: "), ({"mean": "median"}, "mean: "), ({"generator": 3}, "generator: ")])
def test_bad_settings_of_an_expectation_are_named(change, named):
    arguments = {"model": net(), "transform": shaken, **change}
    with pytest.raises(ValueError, match=named):
        expectation(arguments.pop("model"), arguments.pop("transform"), **arguments)


# ---- ensembles ---------------------------------------------------------------------------------------


def test_an_ensembles_cross_entropy_is_lius_objective():
    models, weights = [net(), net(), net()], [0.5, 0.3, 0.2]
    wanted = -torch.log(sum(w * model(X).softmax(1) for w, model in zip(weights, models)).gather(1, Y[:, None]).squeeze(1))
    torch.testing.assert_close(cross_entropies(ensemble(models, weights)(X), Y), wanted)
    even = ensemble(models)(X).exp()
    torch.testing.assert_close(even, torch.stack([model(X).softmax(1) for model in models]).mean(0))
    torch.testing.assert_close(even.sum(1), torch.ones(5, dtype=DOUBLE))


def test_an_ensemble_of_one_is_attacked_like_its_model():
    model = net()
    torch.testing.assert_close(fgsm(ensemble([model]), X, Y, eps=0.1), fgsm(model, X, Y, eps=0.1))


def test_a_sure_member_does_not_hide_the_others():
    sure = lambda x: torch.stack([2000 + 0 * x[:, 0], x[:, 1] - 2000], 1)  # noqa: E731  its softmax has no gradient left
    other = lambda x: torch.stack([3 * x[:, 2], -x[:, 2]], 1)  # noqa: E731
    both = ensemble([sure, other])
    found = fgsm(both, X, torch.zeros(5, dtype=torch.int64), eps=0.1)
    torch.testing.assert_close(found[:, 2], (X[:, 2] - 0.1).clamp(0, 1))
    torch.testing.assert_close(both(X)[:, 0], (0.5 + 0.5 * (4 * X[:, 2]).sigmoid()).log())
    assert math.isfinite(both(X).sum().item())


def test_members_stay_who_they_are_and_get_their_modes_back():
    models = [net().train(), net().eval(), lambda x: torch.stack([x[:, 0], x[:, 1], x[:, 2]], 1)]
    both = ensemble(models)
    assert both.models[0] is models[0] and len(list(both.parameters())) == 8
    found = [pgd(both, X, Y, eps=0.1, steps=3) for _ in range(2)]
    assert torch.equal(*found) and models[0].training and not models[1].training  # dropout was off meanwhile


@pytest.mark.parametrize("models, weights, named", [
    ([], None, "models: "), ([net(), 3], None, "models: "), ([net(), net()], [1.0], "weights: "), ([net(), net()], [0.5, 0.6], "weights: "),
    ([net(), net()], [1.0, 0.0], "weights: "), ([net(), net()], [1.5, -0.5], "weights: ")])
def test_bad_settings_of_an_ensemble_are_named(models, weights, named):
    with pytest.raises(ValueError, match=named):
        ensemble(models, weights)


def test_members_with_other_classes_are_named():
    with pytest.raises(ValueError, match=r"models: expected answers of one shape from all of them, got \(5, 3\), \(5, 4\)"):
        ensemble([net(3), net(4)])(X)


class Output:
    """As a model of Hugging Face's answers."""

    def __init__(self, logits):
        self.logits = logits


def test_output_objects_are_refused_with_the_way_to_their_logits():
    model = net()
    outputs = lambda x: Output(model(x))  # noqa: E731
    with pytest.raises(ValueError, match=r"^model: expected a torch.Tensor of logits, as of lambda x: model\(x\).logits, got Output"):
        expectation(outputs, shaken)(X)
    with pytest.raises(ValueError, match=r"^models: expected a torch.Tensor of logits, as of lambda x: model\(x\).logits, got Output"):
        ensemble([model, outputs])(X)


@pytest.mark.parametrize("wrapped", [lambda model: ensemble([model]), lambda model: expectation(model, shaken)], ids=["ensemble", "expectation"])
def test_sigmoids_are_doubted_behind_a_wrapper_and_log_probabilities_are_not(wrapped):
    model = net()
    with pytest.warns(AttackWarning, match="look like probabilities"):
        wrapped(lambda x: model(x).sigmoid())(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wrapped(lambda x: model(x).log_softmax(1))(X)
