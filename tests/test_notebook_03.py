"""What notebook 03 writes out in its cells, held against the helpers that it then imports: value and gradient."""
from __future__ import annotations


import pytest
import torch
from torch.nn.functional import logsigmoid, normalize, relu

from course_utils import plots
from course_utils.gan import (
    HINGE, LEAST_SQUARES, MINIMAX, NON_SATURATING, WASSERSTEIN, Balance, GANLoss, GradientPenalty, between, clip_after_each_step,
)
from course_utils.models import Stack, mlp_critic, spectral_norm
from notebook_cells import defined

WRITTEN = {"minimax": MINIMAX, "non_saturating": NON_SATURATING, "least_squares": LEAST_SQUARES, "wasserstein": WASSERSTEIN, "hinge": HINGE}


@pytest.fixture
def cells(monkeypatch) -> dict:
    """What the cells define that write out a loss, a penalty, a bound or BEGAN's balance."""
    monkeypatch.setattr(plots, "loss_curves", lambda losses: None)
    names = {"torch": torch, "logsigmoid": logsigmoid, "relu": relu, "normalize": normalize, "GANLoss": GANLoss, "plots": plots,
             "MINIMAX": MINIMAX, "NON_SATURATING": NON_SATURATING}
    return defined("03", (*WRITTEN, "clip", "gradient_penalty", "largest_singular_value", "began_losses", "began_balance"), names)


@pytest.mark.parametrize("part", ["real", "fake", "generator"])
@pytest.mark.parametrize("name", WRITTEN)
def test_each_written_out_loss_is_the_helper(cells, name, part):
    outputs = 3 * torch.randn(200, dtype=torch.float64)
    found = []
    for loss in (cells[name], WRITTEN[name]):
        s = outputs.clone().requires_grad_()
        value = getattr(loss, part)(s)
        found.append((value.detach(), torch.autograd.grad(value.sum(), s)[0]))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("weight", [1.0, 10.0])
@pytest.mark.parametrize("stacked", [False, True])
def test_the_written_out_penalty_is_the_helper(cells, weight, stacked, monkeypatch):
    D = Stack([mlp_critic([2, 8, 8], torch.nn.Tanh) for _ in range(3)]) if stacked else mlp_critic([2, 8, 8], torch.nn.Tanh)
    shape = (3, 16, 2) if stacked else (16, 2)
    x, fake, share = torch.randn(shape), torch.randn(shape), torch.rand(*shape[:-1], 1)
    monkeypatch.setattr(torch, "rand", lambda *size, **options: share)
    written = cells["gradient_penalty"](D, x, fake, weight)
    slopes = torch.autograd.grad(written, list(D.parameters()), allow_unused=True)
    helper = GradientPenalty(weight)(D, x, fake)
    torch.testing.assert_close(written, helper)
    for one, other in zip(slopes, torch.autograd.grad(helper, list(D.parameters()), allow_unused=True)):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(between(x, fake), share * fake + (1 - share) * x)


def test_the_written_out_clipping_is_the_helper(cells):
    D = mlp_critic([2, 8])
    written = [weight.detach().clone() for weight in D.parameters()]
    assert max(weight.abs().max() for weight in written) > 0.05
    cells["clip"](written, 0.05)
    clip_after_each_step(torch.optim.SGD(D.parameters(), 0.1), 0.05)
    torch.testing.assert_close(written, [weight.detach() for weight in D.parameters()])


def test_the_written_out_power_iteration_finds_the_singular_value_that_layers_are_divided_by(cells):
    torch.manual_seed(0)
    W = torch.randn(6, 4)
    sigma, _ = cells["largest_singular_value"](W, rounds=200)
    torch.testing.assert_close(sigma, torch.linalg.matrix_norm(W, 2))
    layer = torch.nn.Linear(4, 6)
    layer.weight.data.copy_(W)
    spectral_norm(layer)
    with torch.no_grad():
        for _ in range(200):
            layer.weight
        torch.testing.assert_close(layer.weight, W / sigma, atol=1e-4, rtol=1e-4)


def test_the_power_iteration_goes_on_from_its_vector(cells):
    W = torch.randn(8, 8)
    one, v = cells["largest_singular_value"](W, rounds=3)
    for _ in range(200):
        sigma, v = cells["largest_singular_value"](W, v=v)
    assert abs(sigma - torch.linalg.matrix_norm(W, 2)) < 1e-3 and one > 0


@pytest.mark.parametrize("k", [0.0, 0.3, 1.0])
def test_the_written_out_balance_is_the_helper(cells, k):
    balance = Balance(0.7, 0.1, runs=3)
    balance.k = torch.full((3,), k)
    on_real, on_fake = torch.rand(3), torch.rand(3, requires_grad=True)
    critic, generator = cells["began_losses"](on_real, on_fake, balance.k)
    helper = balance.critic_loss(on_real, on_fake)
    torch.testing.assert_close(critic, helper)
    torch.testing.assert_close(torch.autograd.grad(critic.sum(), on_fake), torch.autograd.grad(helper.sum(), on_fake))
    assert generator is on_fake
    wanted, measure = cells["began_balance"](on_real, on_fake.detach(), balance.k, 0.7, 0.1)
    torch.testing.assert_close(balance.update(on_real, on_fake.detach()), measure)
    torch.testing.assert_close(balance.k, wanted)
