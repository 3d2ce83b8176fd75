"""Class-conditional GAN: nets that see the class, and the step of the game over pairs."""
from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import softplus

from course_utils.gan import MINIMAX, NON_SATURATING, conditional_step
from course_utils.gan.conditional import Given
from course_utils.models import ConditionalCritic, ConditionalGenerator

SHAPE = (1, 8, 8)


def nets() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    return ConditionalGenerator(5, 3, SHAPE, width=4), ConditionalCritic(3, SHAPE, width=4)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
def test_shapes_and_ranges(shape):
    G, D = ConditionalGenerator(5, 4, shape, width=4), ConditionalCritic(4, shape, width=4)
    y = torch.arange(6) % 4
    x = G(100 * torch.randn(6, 5), y)
    assert x.shape == (6, *shape) and 0 <= x.min() and x.max() <= 1
    assert D(x, y).shape == (6,)


def test_both_nets_look_at_the_class():
    G, D = (net.eval() for net in nets())
    z, first, second = torch.randn(4, 5), torch.zeros(4, dtype=torch.int64), torch.ones(4, dtype=torch.int64)
    x = torch.rand(4, *SHAPE)
    assert (G(z, first) - G(z, second)).abs().max() > 1e-4
    assert ((D(x, first) - D(x, second)).abs() > 1e-7).all()


def test_the_class_of_one_picture_is_no_business_of_the_others():
    G, D = (net.eval() for net in nets())
    z, x, y = torch.randn(4, 5), torch.rand(4, *SHAPE), torch.tensor([0, 1, 2, 0])
    other = torch.tensor([1, 1, 2, 0])
    torch.testing.assert_close(G(z, y)[1:], G(z, other)[1:])
    torch.testing.assert_close(D(x, y)[1:], D(x, other)[1:])


@pytest.mark.parametrize("y, problem", [
    (torch.tensor([0, 3]), "class numbers from 0 to 2"), (torch.tensor([-1, 0]), "class numbers from 0 to 2"),
    (torch.tensor([0.0, 1.0]), "torch.int64"), (torch.tensor([0]), r"the shape \(2,\)"), (7, "torch.Tensor")])
def test_classes_that_are_none_are_refused(y, problem):
    G, D = nets()
    for call in (lambda: G(torch.randn(2, 5), y), lambda: D(torch.rand(2, *SHAPE), y)):
        with pytest.raises(ValueError, match=f"y: expected .*{problem}"):
            call()


@pytest.mark.parametrize("make", [
    lambda: ConditionalGenerator(0, 3, SHAPE), lambda: ConditionalGenerator(5, 0, SHAPE), lambda: ConditionalCritic(0, SHAPE),
    lambda: ConditionalCritic(3, (1, 8, 9))])
def test_impossible_sizes_are_refused(make):
    with pytest.raises(ValueError, match="expected"):
        make()


class Pair(nn.Module):
    """Linear nets over (x, y), for closed forms: ``net(x, y) = scale * x + shift[y]``."""

    def __init__(self, scale: float, shift: list[float]) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.tensor(scale)), nn.Parameter(torch.tensor(shift))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.scale * x + self.shift[y]


def test_given_is_the_net_with_its_condition():
    net, y, x = Pair(2.0, [0.0, 5.0]), torch.tensor([1, 0]), torch.tensor([1.0, 1.0])
    given = Given(net, y)
    assert given(x).tolist() == [7.0, 2.0] and set(map(id, given.parameters())) == set(map(id, net.parameters()))


@pytest.mark.parametrize("loss, generators", [(NON_SATURATING, lambda s: softplus(-s)), (MINIMAX, lambda s: -softplus(s))])
def test_the_step_is_that_of_the_game_over_pairs(loss, generators):
    G, D = Pair(0.5, [1.0, -1.0]), Pair(-0.3, [0.2, 0.7])
    pairs = [(torch.tensor([1.0, 2.0]), torch.tensor([0, 1])), (torch.tensor([-1.0, 0.0]), torch.tensor([1, 1]))]
    zs = [torch.tensor([0.3, -0.8]), torch.tensor([1.5, 0.1])]
    (x, y), (_, y2) = pairs
    value = softplus(-D(x, y)).mean() + softplus(D(G(zs[0], y).detach(), y)).mean()
    d_after = [p - 0.1 * g for p, g in zip(D.parameters(), torch.autograd.grad(value, list(D.parameters())))]
    D2 = Pair(*(p.detach().tolist() for p in d_after))
    value2 = generators(D2(G(zs[1], y2), y2)).mean()
    g_after = [p - 0.1 * g for p, g in zip(G.parameters(), torch.autograd.grad(value2, list(G.parameters())))]

    data, noise = iter(pairs), iter(zs)
    opt_g, opt_d = (torch.optim.SGD(net.parameters(), 0.1) for net in (G, D))
    d_loss, g_loss = conditional_step(G, D, opt_g, opt_d, lambda: next(data), lambda: next(noise), loss=loss)
    torch.testing.assert_close(list(D.parameters()), d_after)
    torch.testing.assert_close(list(G.parameters()), g_after)
    torch.testing.assert_close((d_loss, g_loss), (value.detach(), value2.detach()))
    assert not d_loss.requires_grad and not g_loss.requires_grad


def test_a_few_steps_teach_the_class_of_points():
    """Class 0 lies at -2 and class 1 at +2: what G adds for a class has to follow, and only through D(x, y)."""
    torch.manual_seed(0)
    G, D = Pair(0.1, [0.0, 0.0]), Bilinear()
    opt_g, opt_d = (torch.optim.Adam(net.parameters(), 0.05, betas=(0.5, 0.9)) for net in (G, D))

    def data() -> tuple[torch.Tensor, torch.Tensor]:
        y = torch.randint(2, (64,))
        return 4.0 * y - 2 + 0.1 * torch.randn(64), y

    for _ in range(60):
        conditional_step(G, D, opt_g, opt_d, data, lambda: torch.randn(64))
    assert G.shift[0] < -0.5 and G.shift[1] > 0.5


class Bilinear(nn.Module):
    """A line for each class: D(x, y) = slope[y] x + shift[y]."""

    def __init__(self) -> None:
        super().__init__()
        self.slope, self.shift = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.slope[y] * x + self.shift[y]
