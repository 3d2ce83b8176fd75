"""Losses against closed forms, and what each step may and may not change."""
from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from course_utils.gan import (
    MINIMAX, NON_SATURATING, critic_step, frozen, gan_step, gaussian, generator_step, minimax_value, uniform,
)
from course_utils.gan.losses import batch_mean
from course_utils.models import mlp, mlp_critic

LOGITS = torch.linspace(-8, 8, 33, dtype=torch.float64)
D = LOGITS.sigmoid()
# name -> (function of the logit, its closed form in D, its slope over the logit in D)
CLOSED = {
    "real": (MINIMAX.real, -D.log(), -(1 - D)),
    "fake": (MINIMAX.fake, -(1 - D).log(), D),
    "minimax generator": (MINIMAX.generator, (1 - D).log(), -D),
    "non-saturating generator": (NON_SATURATING.generator, -D.log(), -(1 - D)),
}


@pytest.mark.parametrize("name", CLOSED)
def test_value_and_slope_are_the_closed_form(name):
    function, value, slope = CLOSED[name]
    logits = LOGITS.clone().requires_grad_()
    got = function(logits)
    torch.testing.assert_close(got.detach(), value)
    torch.testing.assert_close(torch.autograd.grad(got.sum(), logits)[0], slope)


def test_both_losses_train_the_same_critic():
    for part in ("real", "fake"):
        torch.testing.assert_close(getattr(MINIMAX, part)(LOGITS), getattr(NON_SATURATING, part)(LOGITS))


def test_losses_stay_finite_where_a_logarithm_would_not():
    extreme = torch.tensor([-1e4, 1e4])
    for loss in (MINIMAX, NON_SATURATING):
        for part in (loss.real, loss.fake, loss.generator):
            assert torch.isfinite(part(extreme)).all()


def test_value_is_minus_log_4_when_undecided_and_at_most_0():
    zero = torch.zeros(10)
    torch.testing.assert_close(minimax_value(zero, zero), torch.tensor(-math.log(4)))
    assert (minimax_value(torch.randn(3, 50), torch.randn(3, 50)) <= 0).all()


def test_value_is_minus_the_critic_loss_on_each_run():
    real, fake = torch.randn(3, 50), torch.randn(3, 50)
    torch.testing.assert_close(-minimax_value(real, fake).sum(), MINIMAX.for_critic(real, fake))
    assert minimax_value(real, fake).shape == (3,)


def test_batch_mean_is_the_mean_over_the_batch_summed_over_runs():
    values = torch.tensor([[1.0, 3.0], [10.0, 30.0]])
    assert batch_mean(values) == 22 and batch_mean(values[0]) == 2


def test_runs_of_real_and_fake_must_agree():
    with pytest.raises(ValueError, match="on_fake: expected the runs"):
        MINIMAX.for_critic(torch.zeros(3, 5), torch.zeros(2, 5))


def nets():
    torch.manual_seed(0)
    G, D = mlp([2, 8, 2]), mlp_critic([2, 8])
    return G, D, torch.optim.SGD(G.parameters(), 0.1), torch.optim.SGD(D.parameters(), 0.1)


def weights(net: nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in net.parameters()]


def same(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b))


@pytest.mark.parametrize("loss", [MINIMAX, NON_SATURATING])
def test_a_critic_step_raises_the_value_and_leaves_the_generator_alone(loss):
    G, D, _, opt_d = nets()
    x, z, before_g, before_d = torch.randn(64, 2) + 2, torch.randn(64, 2), weights(G), weights(D)
    value = minimax_value(D(x), D(G(z)))
    critic_step(G, D, opt_d, x, z, loss)
    assert same(before_g, weights(G)) and not same(before_d, weights(D))
    assert minimax_value(D(x), D(G(z))) > value
    assert all(p.grad is None for p in G.parameters())


@pytest.mark.parametrize("loss", [MINIMAX, NON_SATURATING])
def test_a_generator_step_raises_d_of_g_and_leaves_the_critic_alone(loss):
    G, D, opt_g, _ = nets()
    z, before_g, before_d = torch.randn(64, 2), weights(G), weights(D)
    fooled = D(G(z)).sigmoid().mean()
    generator_step(G, D, opt_g, z, loss)
    assert same(before_d, weights(D)) and not same(before_g, weights(G))
    assert D(G(z)).sigmoid().mean() > fooled
    assert all(p.grad is None and p.requires_grad for p in D.parameters())


def test_the_generator_step_is_the_gradient_of_the_flipped_objective():
    G, D, opt_g, _ = nets()
    z = torch.randn(64, 2)
    grads = torch.autograd.grad(-D(G(z)).sigmoid().log().mean(), list(G.parameters()))
    expected = [p - 0.1 * g for p, g in zip(weights(G), grads)]
    generator_step(G, D, opt_g, z, NON_SATURATING)
    torch.testing.assert_close(weights(G), expected)


def test_frozen_gives_back_what_it_found_even_after_an_error():
    D = mlp_critic([2, 4])
    fixed = next(D.parameters()).requires_grad_(False)
    with pytest.raises(RuntimeError), frozen(D):
        assert not any(p.requires_grad for p in D.parameters())
        raise RuntimeError
    assert [p.requires_grad for p in D.parameters()] == [p is not fixed for p in D.parameters()]


@pytest.mark.parametrize("k", [1, 3])
def test_k_critic_steps_and_one_generator_step_each_on_fresh_minibatches(k):
    G, D, opt_g, opt_d = nets()
    drawn = {"x": 0, "z": 0}
    steps = {"d": 0, "g": 0}
    opt_d.register_step_post_hook(lambda *_: steps.__setitem__("d", steps["d"] + 1))
    opt_g.register_step_post_hook(lambda *_: steps.__setitem__("g", steps["g"] + 1))

    def draw(name):
        drawn[name] += 1
        return torch.randn(16, 2)

    gan_step(G, D, opt_g, opt_d, lambda: draw("x"), lambda: draw("z"), k=k)
    assert drawn == {"x": k, "z": k + 1} and steps == {"d": k, "g": 1}


@pytest.mark.parametrize("k", [0, -1, 1.5, True])
def test_k_must_be_a_whole_number_of_at_least_1(k):
    G, D, opt_g, opt_d = nets()
    before = weights(G) + weights(D)
    with pytest.raises(ValueError, match="k: expected a whole number of at least 1"):
        gan_step(G, D, opt_g, opt_d, lambda: torch.randn(4, 2), lambda: torch.randn(4, 2), k=k)
    assert same(before, weights(G) + weights(D))


def test_noise_has_its_distribution_and_repeats():
    draw = lambda: torch.Generator().manual_seed(3)  # noqa: E731
    z = gaussian(200, 500, generator=draw())
    assert abs(z.mean()) < 0.01 and abs(z.std() - 1) < 0.01 and torch.equal(z, gaussian(200, 500, generator=draw()))
    u = uniform(200, 500, generator=draw())
    assert u.min() >= -1 and u.max() < 1 and abs(u.mean()) < 0.01 and abs(u.std() - 1 / math.sqrt(3)) < 0.01
