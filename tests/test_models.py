"""Architectures: shapes, ranges, and a stack that is its nets."""
from __future__ import annotations

import pytest
import torch
from torch import nn

from course_utils.gan import NON_SATURATING, gan_step
from course_utils.models import ConvNet, FCCritic, FCGenerator, Stack, mlp, mlp_critic


def test_shapes_and_ranges():
    assert mlp([3, 5, 2])(torch.zeros(4, 3)).shape == (4, 2)
    assert mlp_critic([2, 8])(torch.zeros(4, 2)).shape == (4,)
    pictures = FCGenerator(16, (3, 8, 8))(100 * torch.randn(4, 16))
    assert pictures.shape == (4, 3, 8, 8) and pictures.min() >= 0 and pictures.max() <= 1
    assert FCCritic((3, 8, 8))(pictures).shape == (4,)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 5, 7)])
def test_convnet_takes_any_picture(shape):
    net = ConvNet(shape, classes=7, width=12)
    x = torch.rand(2, *shape)
    assert net(x).shape == (2, 7) and net.features(x).shape == (2, 12) and net.features(x).min() >= 0


@pytest.mark.parametrize("make", [lambda: mlp([3]), lambda: mlp([3, 0]), lambda: ConvNet((1, 3, 28), 10), lambda: FCGenerator(0, (1, 2, 2))])
def test_impossible_sizes_are_refused(make):
    with pytest.raises(ValueError, match="expected"):
        make()


def lone(count: int) -> list[nn.Module]:
    torch.manual_seed(0)
    return [mlp([2, 8, 2]) for _ in range(count)]


def test_each_run_of_a_stack_is_its_net():
    nets = lone(3)
    stack, x = Stack(nets), torch.randn(3, 5, 2)
    for run, net in enumerate(nets):
        torch.testing.assert_close(stack(x)[run], net(x[run]))
        torch.testing.assert_close(stack(x[0])[run], net(x[0]))  # one input for all
        torch.testing.assert_close(stack.net(run)(x[run]), net(x[run]))


def test_a_stacked_gan_is_trained_as_each_pair_alone():
    torch.manual_seed(1)
    generators, critics = [mlp([2, 8, 2]) for _ in range(2)], [mlp_critic([2, 8]) for _ in range(2)]
    G, D = Stack(generators), Stack(critics)
    xs, zs = torch.randn(10, 2, 16, 2), torch.randn(20, 2, 16, 2)

    def play(G, D, xs, zs):
        x, z = iter(xs), iter(zs)
        opt_g, opt_d = (torch.optim.Adam(net.parameters(), 1e-2) for net in (G, D))
        for _ in range(10):
            gan_step(G, D, opt_g, opt_d, lambda: next(x), lambda: next(z), loss=NON_SATURATING)

    play(G, D, xs, zs)
    for run in range(2):
        play(generators[run], critics[run], xs[:, run], zs[:, run])
        for stacked, alone in ((G.net(run), generators[run]), (D.net(run), critics[run])):
            torch.testing.assert_close(list(stacked.parameters()), list(alone.parameters()), rtol=1e-4, atol=1e-5)


def test_a_stack_counts_its_own_weights_and_can_be_saved():
    nets = lone(3)
    stack, other = Stack(nets), Stack(lone(3)[::-1])
    assert sum(p.numel() for p in stack.parameters()) == 3 * sum(p.numel() for p in nets[0].parameters())
    other.load_state_dict(stack.state_dict())
    x = torch.randn(3, 4, 2)
    assert torch.equal(stack(x), other(x))


@pytest.mark.parametrize("nets, problem", [
    ([], "at least one net"), ([mlp([2, 3]), mlp([2, 4])], "one architecture"), ([nn.BatchNorm1d(2)], "without buffers"),
    ([nn.Sequential(nn.Conv2d(1, 2, 3))], "nn.Linear layers"), ([nn.Sequential(nn.Linear(2, 2, bias=False))], "with bias"),
])
def test_what_cannot_be_stacked_is_refused(nets, problem):
    with pytest.raises(ValueError, match=problem):
        Stack(nets)


def test_wrong_number_of_runs_is_named():
    with pytest.raises(ValueError, match="x: expected 3 runs in front"):
        Stack(lone(3))(torch.zeros(2, 5, 2))
    with pytest.raises(ValueError, match="run: expected 0 to 2, got 3"):
        Stack(lone(3)).net(3)
