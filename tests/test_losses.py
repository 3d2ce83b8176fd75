"""Losses of notebook 03 and what keeps their critics in bounds, against closed forms and torch's own."""
from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from course_utils.gan import (
    HINGE, LEAST_SQUARES, WASSERSTEIN, Balance, GradientPenalty, ReconstructionError, began_step, between, clip_after_each_step,
    critic_step, gan_step, gradient_norm,
)
from course_utils.models import DCCritic, ELUGenerator, FCAutoEncoder, Stack, mlp, mlp_critic, spectral_norm

S = torch.linspace(-3, 3, 25, dtype=torch.float64)  # holds the hinge's corners at -1 and 1
INSIDE = (S.abs() - 1).abs() > 1e-9  # at a corner there is no slope
ONE = torch.ones_like(S)
# name -> (function of the critic's output, its value, its slope)
CLOSED = {
    "least squares, real": (LEAST_SQUARES.real, 0.5 * (S - 1) ** 2, S - 1),
    "least squares, fake": (LEAST_SQUARES.fake, 0.5 * S**2, S),
    "least squares, generator": (LEAST_SQUARES.generator, 0.5 * (S - 1) ** 2, S - 1),
    "Wasserstein, real": (WASSERSTEIN.real, -S, -ONE),
    "Wasserstein, fake": (WASSERSTEIN.fake, S, ONE),
    "Wasserstein, generator": (WASSERSTEIN.generator, -S, -ONE),
    "hinge, real": (HINGE.real, torch.maximum(0 * S, 1 - S), torch.where(S < 1, -ONE, 0 * S)),
    "hinge, fake": (HINGE.fake, torch.maximum(0 * S, 1 + S), torch.where(S > -1, ONE, 0 * S)),
    "hinge, generator": (HINGE.generator, -S, -ONE),
}


@pytest.mark.parametrize("name", CLOSED)
def test_value_and_slope_are_the_closed_form(name):
    function, value, slope = CLOSED[name]
    outputs = S.clone().requires_grad_()
    got = function(outputs)
    torch.testing.assert_close(got.detach(), value)
    torch.testing.assert_close(torch.autograd.grad(got.sum(), outputs)[0][INSIDE], slope[INSIDE])


def linear_critic(slope: list[float]) -> nn.Module:
    D = mlp_critic([len(slope)])
    with torch.no_grad():
        D[0][0].weight.copy_(torch.tensor([slope]))
    return D


def test_the_slope_of_a_linear_critic_is_its_weights_length():
    length = gradient_norm(linear_critic([3.0, 4.0]), torch.randn(7, 2))
    torch.testing.assert_close(length, torch.full((7,), 5.0))
    assert not length.requires_grad


def test_slopes_of_pictures_and_of_a_stack_have_one_number_a_sample():
    assert gradient_norm(DCCritic((1, 8, 8), 4, norm=lambda maps: nn.Identity()), torch.rand(3, 1, 8, 8)).shape == (3,)
    stack = Stack([linear_critic([3.0, 4.0]), linear_critic([0.0, 2.0])])
    torch.testing.assert_close(gradient_norm(stack, torch.randn(2, 3, 2)), torch.tensor([[5.0] * 3, [2.0] * 3]))


@pytest.mark.parametrize("weight", [10.0, 0.5])
def test_the_penalty_of_a_linear_critic_is_in_closed_form_and_pulls_its_slope_to_1(weight):
    D = linear_critic([3.0, 4.0])
    x, fake = torch.randn(6, 2), torch.randn(6, 2)
    penalty = GradientPenalty(weight)(D, x, fake)
    torch.testing.assert_close(penalty, torch.tensor(weight * 16.0))
    penalty.backward()  # d/dw weight (|w| - 1)^2 = 2 weight (|w| - 1) w / |w|
    torch.testing.assert_close(D[0][0].weight.grad, 2 * weight * 4 * torch.tensor([[0.6, 0.8]]))
    assert GradientPenalty(weight)(linear_critic([0.6, 0.8]), x, fake) < 1e-10


def test_the_penalty_of_a_stack_is_the_sum_of_its_runs():
    stack = Stack([linear_critic([3.0, 4.0]), linear_critic([0.0, 2.0])])
    x, fake = torch.randn(2, 6, 2), torch.randn(2, 6, 2)
    torch.testing.assert_close(GradientPenalty(1.0)(stack, x, fake), torch.tensor(16.0 + 1.0))


@pytest.mark.parametrize("shape", [(4000, 2), (2, 2000, 2), (2000, 3, 2, 2)])
def test_points_between_lie_on_the_line_with_a_share_of_their_own_for_each_sample(shape):
    real, fake = torch.zeros(shape), torch.ones(shape)
    share = between(real, fake)
    samples = share.flatten(0, 1) if share.ndim == 3 else share
    samples = samples.flatten(1)
    assert (samples == samples[:, :1]).all() and samples.min() >= 0 and samples.max() <= 1
    assert abs(samples[:, 0].mean() - 0.5) < 0.03 and abs(samples[:, 0].std() - 12**-0.5) < 0.02
    assert len(samples[:, 0].unique()) > 0.9 * len(samples)


def test_bad_penalties_are_refused():
    with pytest.raises(ValueError, match="weight: expected a finite number above 0"):
        GradientPenalty(0.0)
    with pytest.raises(ValueError, match="fake: expected the shape of real"):
        GradientPenalty()(linear_critic([1.0, 1.0]), torch.zeros(3, 2), torch.zeros(4, 2))


def test_a_step_with_a_penalty_descends_the_sum():
    torch.manual_seed(0)
    G, D = mlp([2, 8, 2]), linear_critic([3.0, 4.0])
    x, z, before = torch.randn(16, 2), torch.randn(16, 2), D[0][0].weight.detach().clone()
    fake = G(z).detach()
    loss = critic_step(G, D, torch.optim.SGD(D.parameters(), 0.01), x, z, WASSERSTEIN, penalty=GradientPenalty(10.0))
    slope = fake.mean(0) - x.mean(0)  # of the loss's two means, for a linear critic
    torch.testing.assert_close(loss, (before @ slope + 160.0).squeeze())
    torch.testing.assert_close(D[0][0].weight.detach(), before - 0.01 * (slope + 80 * torch.tensor([0.6, 0.8])))


@pytest.mark.parametrize("reuse", [False, True])
def test_every_critic_step_of_a_gan_step_has_the_penalty(reuse):
    G, D, seen = mlp([2, 4, 2]), mlp_critic([2, 4]), []
    opt_g, opt_d = (torch.optim.SGD(net.parameters(), 0.01) for net in (G, D))

    def penalty(critic, x, fake):
        seen.append((critic is D, x.shape, fake.requires_grad))
        return critic(x).sum() * 0

    gan_step(G, D, opt_g, opt_d, lambda: torch.randn(5, 2), lambda: torch.randn(5, 2), k=3, loss=WASSERSTEIN, penalty=penalty, reuse=reuse)
    assert seen == [(True, (5, 2), False)] * 3


def test_weights_are_clipped_at_once_and_after_each_step():
    D = linear_critic([3.0, -4.0])
    optimizer = clip_after_each_step(torch.optim.SGD(D.parameters(), 1.0), 0.1)
    torch.testing.assert_close(D[0][0].weight.detach(), torch.tensor([[0.1, -0.1]]))
    D[0][0].weight.grad = torch.tensor([[5.0, 0.05]])
    optimizer.step()
    torch.testing.assert_close(D[0][0].weight.detach(), torch.tensor([[-0.1, -0.1]]))
    with pytest.raises(ValueError, match="limit: expected a finite number above 0"):
        clip_after_each_step(optimizer, 0)


def settle(net: nn.Module, x: torch.Tensor) -> nn.Module:
    """Call ``net`` until the power iteration no longer moves, and fix it."""
    with torch.no_grad():
        for _ in range(300):
            net(x)
    return net.eval()


def test_normalised_layers_of_a_stack_have_largest_singular_value_1_and_are_torchs():
    torch.manual_seed(0)
    nets = [mlp_critic([2, 8, 8]) for _ in range(3)]
    x = torch.randn(3, 5, 2)
    stack = settle(spectral_norm(Stack(copy.deepcopy(nets))), x)
    for run, net in enumerate(nets):
        for layer in net.modules():
            if isinstance(layer, nn.Linear):
                parametrizations.spectral_norm(layer)
        settle(net, x[run])
        torch.testing.assert_close(stack(x)[run], net(x[run]), atol=1e-5, rtol=1e-4)
    for name, weight in ((n, m.weight) for n, m in stack.nets.named_modules() if hasattr(m, "parametrizations")):
        torch.testing.assert_close(torch.linalg.matrix_norm(weight, 2), torch.ones(3), atol=1e-4, rtol=0, msg=name)


def test_gradients_of_a_normalised_stack_are_torchs():
    torch.manual_seed(0)
    nets = [mlp_critic([2, 6]) for _ in range(2)]
    x = torch.randn(2, 5, 2)
    stack = settle(spectral_norm(Stack(copy.deepcopy(nets))), x)
    stack(x).square().sum().backward()
    original = stack.nets[0][0].parametrizations.weight.original.grad
    for run, net in enumerate(nets):
        for layer in (net[0][0], net[0][2]):
            parametrizations.spectral_norm(layer)
        settle(net, x[run])(x[run]).square().sum().backward()
        torch.testing.assert_close(original[run].T, net[0][0].parametrizations.weight.original.grad, atol=1e-4, rtol=1e-3)


def test_two_passes_before_one_backward_are_allowed_and_the_net_is_1_lipschitz():
    torch.manual_seed(0)
    D = spectral_norm(Stack([mlp_critic([2, 16, 16]) for _ in range(2)]))
    (D(torch.randn(2, 4, 2)).sum() - D(torch.randn(2, 4, 2)).sum()).backward()
    settle(D, torch.randn(2, 4, 2))
    assert gradient_norm(D, 3 * torch.randn(2, 500, 2)).max() <= 1.001


def test_a_normalised_stack_gives_its_nets_and_resumes():
    D = spectral_norm(Stack([mlp_critic([2, 4]) for _ in range(2)])).eval()
    x = torch.randn(2, 5, 2)
    torch.testing.assert_close(D.net(1)(x[1]), D(x)[1])
    other = spectral_norm(Stack([mlp_critic([2, 4]) for _ in range(2)])).eval()
    other.load_state_dict(D.state_dict())
    assert torch.equal(other(x), D(x))


def test_convolutions_are_normalised_and_nothing_twice():
    D = spectral_norm(DCCritic((1, 8, 8), 4, norm=lambda maps: nn.Identity()))
    settle(D, torch.rand(2, 1, 8, 8))
    assert all(abs(torch.linalg.matrix_norm(m.weight.flatten(1), 2) - 1) < 1e-3 for m in D.modules() if isinstance(m, nn.Conv2d))
    with pytest.raises(ValueError, match="net: expected layers not normalised yet"):
        spectral_norm(D)
    with pytest.raises(ValueError, match="net: expected at least one linear layer"):
        spectral_norm(nn.ReLU())


def test_the_reconstruction_error_is_a_mean_of_absolute_gaps():
    D = ReconstructionError(nn.Identity())
    D.net.forward = lambda x: x + 0.25  # off by a quarter everywhere
    for shape, wanted in (((4, 3), (4,)), ((2, 4, 3), (2, 4)), ((4, 1, 3, 3), (4,))):
        torch.testing.assert_close(D(torch.rand(shape)), torch.full(wanted, 0.25))


def test_the_balance_follows_equation_9():
    balance = Balance(gamma=0.5, rate=0.1, runs=2)
    real, fake = torch.tensor([1.0, 0.4]), torch.tensor([0.2, 0.3])
    torch.testing.assert_close(balance.critic_loss(real, fake), real)  # k begins at 0
    measure = balance.update(real, fake)
    torch.testing.assert_close(measure, torch.tensor([1.0 + 0.3, 0.4 + 0.1]))
    torch.testing.assert_close(balance.k, torch.tensor([0.03, 0.0]))  # the second would fall below 0
    torch.testing.assert_close(balance.critic_loss(real, fake), torch.tensor([1.0 - 0.03 * 0.2, 0.4]))
    for _ in range(200):
        balance.update(real, fake)
    assert balance.k.tolist() == [1.0, 0.0]


def test_the_balance_goes_into_a_checkpoint():
    balance, other = Balance(0.5, 0.1), Balance(0.5, 0.1)
    balance.update(torch.tensor(1.0), torch.tensor(0.0))
    other.load_state_dict(balance.state_dict())
    assert other.k == balance.k == 0.05


@pytest.mark.parametrize("gamma, rate, match", [(0.0, 0.1, "gamma: expected"), (1.5, 0.1, "gamma: expected a number in"), (0.5, 0.0, "rate: expected")])
def test_bad_balances_are_refused(gamma, rate, match):
    with pytest.raises(ValueError, match=match):
        Balance(gamma, rate)


def test_a_began_step_is_the_gradient_of_each_players_own_loss():
    torch.manual_seed(0)
    G, D = mlp([2, 4, 3]), ReconstructionError(mlp([3, 2, 3]))
    opt_g, opt_d = (torch.optim.SGD(net.parameters(), 0.1) for net in (G, D))
    x, z_d, z_g = torch.randn(8, 3), torch.randn(8, 2), torch.randn(8, 2)
    balance = Balance(0.5, 0.1)
    balance.k = torch.tensor(0.4)
    expected = copy.deepcopy((G, D))
    slopes = torch.autograd.grad(expected[1](x).mean() - 0.4 * expected[1](expected[0](z_d)).mean(), list(expected[1].parameters()))
    with torch.no_grad():
        for weight, slope in zip(expected[1].parameters(), slopes):
            weight -= 0.1 * slope
    on_real, on_fake = D(x).mean().detach(), expected[1](expected[0](z_g)).mean()
    slopes = torch.autograd.grad(on_fake, list(expected[0].parameters()))
    with torch.no_grad():
        for weight, slope in zip(expected[0].parameters(), slopes):
            weight -= 0.1 * slope
    got = began_step(G, D, opt_g, opt_d, x, z_d, z_g, balance)
    torch.testing.assert_close(got, (on_real, on_fake.detach(), on_real + (0.5 * on_real - on_fake.detach()).abs()))
    for net, wanted in zip((G, D), expected):
        torch.testing.assert_close(list(net.parameters()), list(wanted.parameters()))
    torch.testing.assert_close(balance.k, 0.4 + 0.1 * (0.5 * on_real - on_fake.detach()))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
def test_began_nets_keep_shape_and_range(shape):
    pictures = ELUGenerator(8, shape)(torch.randn(4, 8))
    again = FCAutoEncoder(shape)(pictures)
    for some in (pictures, again):
        assert some.shape == (4, *shape) and some.min() >= 0 and some.max() <= 1
