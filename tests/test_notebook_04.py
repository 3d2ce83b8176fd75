"""The losses that notebook 04 writes out, held against the helpers that its trainings use: values and gradients."""
from __future__ import annotations

import copy

import pytest
import torch
from torch.nn.functional import softplus

from course_utils.gan import CycleNets, Pool, conditional_step, cycle_step, text_step, translate_step
from course_utils.models import (
    ConditionalCritic, ConditionalGenerator, PatchCritic, TextCritic, TextEncoder, TextGenerator, Translator, UNet, receptive_field,
)
from notebook_cells import defined

LR = 0.1


@pytest.fixture(scope="module")
def cells() -> dict:
    """What the cells define that write out an objective."""
    names = {"torch": torch, "softplus": softplus}
    return defined("04", ("conditional_losses", "pix2pix_losses", "cycle_losses", "matching_losses", "patch_side"), names)


def stepped(net: torch.nn.Module, loss: torch.Tensor) -> list[torch.Tensor]:
    """The weights of ``net`` after one plain gradient step on ``loss``."""
    return [(p - LR * g).detach() for p, g in zip(net.parameters(), torch.autograd.grad(loss, list(net.parameters())))]


def descent(*nets: torch.nn.Module) -> list[torch.optim.Optimizer]:
    return [torch.optim.SGD(net.parameters(), LR) for net in nets]


def with_weights(net: torch.nn.Module, weights: list[torch.Tensor]) -> torch.nn.Module:
    net = copy.deepcopy(net)
    with torch.no_grad():
        for p, value in zip(net.parameters(), weights):
            p.copy_(value)
    return net


def weights(net: torch.nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in net.parameters()]


def test_conditional_losses_are_the_helpers(cells):
    torch.manual_seed(0)
    G, D = ConditionalGenerator(4, 3, (1, 8, 8), width=4).double(), ConditionalCritic(3, (1, 8, 8), width=4).double()
    for net in (G, D):
        net.eval()  # batch norm's running means would move with every look
    x, y, z = torch.rand(6, 1, 8, 8, dtype=torch.float64), torch.arange(6) % 3, torch.randn(6, 4, dtype=torch.float64)
    critic, _ = cells["conditional_losses"](G, D, x, y, z)
    d_after = stepped(D, critic)
    _, generator = cells["conditional_losses"](G, with_weights(D, d_after), x, y, z)
    g_after = stepped(G, generator)
    got = conditional_step(G, D, *descent(G, D), lambda: (x, y), lambda: z)
    torch.testing.assert_close(got, (critic.detach(), generator.detach()))
    torch.testing.assert_close(weights(D), d_after)
    torch.testing.assert_close(weights(G), g_after)


@pytest.mark.parametrize("weight", [0.0, 30.0])
def test_pix2pix_losses_are_the_helpers(cells, weight):
    torch.manual_seed(0)
    G, D = UNet(1, 3, 4, depth=2).double().eval(), PatchCritic(4, 4, 1, norm=torch.nn.Identity).double()
    a, b = torch.rand(2, 1, 16, 16, dtype=torch.float64), torch.rand(2, 3, 16, 16, dtype=torch.float64)
    critic, _ = cells["pix2pix_losses"](G, D, a, b, weight)
    d_after = stepped(D, critic)
    _, generator = cells["pix2pix_losses"](G, with_weights(D, d_after), a, b, weight)
    g_after = stepped(G, generator)
    d_loss, g_loss, distance = translate_step(G, D, *descent(G, D), a, b, weight=weight)
    torch.testing.assert_close((d_loss, g_loss + weight * distance), (critic.detach(), generator.detach()))
    torch.testing.assert_close(weights(D), d_after)
    torch.testing.assert_close(weights(G), g_after)


@pytest.mark.parametrize("layers", range(5))
def test_the_written_out_patch_side_is_the_helpers(cells, layers):
    critic = PatchCritic(3, 2, layers)
    sizes = [(c.kernel_size[0], c.stride[0]) for c in critic.modules() if isinstance(c, torch.nn.Conv2d)]
    assert cells["patch_side"](sizes) == receptive_field(critic)


@pytest.mark.parametrize("weight", [0.0, 10.0])
def test_cycle_losses_are_the_helpers(cells, weight):
    torch.manual_seed(0)
    nets = CycleNets(lambda: Translator(3, 4), lambda: PatchCritic(3, 4, 1, norm=torch.nn.Identity)).double()
    a, b = torch.rand(2, 2, 3, 16, 16, dtype=torch.float64)
    translators, critics = cells["cycle_losses"](nets, a, b, weight)
    expected = {}
    for name, loss in (("translators", translators), ("critics", critics)):
        parts = list(getattr(nets, name)())
        expected[name] = [(p - LR * g).detach() for p, g in zip(parts, torch.autograd.grad(loss, parts, retain_graph=True))]
    opt_g, opt_d = (torch.optim.SGD(parts(), LR) for parts in (nets.translators, nets.critics))
    got = cycle_step(nets, opt_g, opt_d, (Pool(50), Pool(50)), a, b, weight=weight)
    torch.testing.assert_close(got, (critics.detach(), translators.detach()))
    for name, values in expected.items():
        torch.testing.assert_close([p.detach() for p in getattr(nets, name)()], values)


def test_matching_losses_are_the_helpers(cells):
    torch.manual_seed(0)
    E, G, D = TextEncoder(9, 6).double(), TextGenerator(4, 6, (3, 8, 8), 4).double().eval(), TextCritic(6, (3, 8, 8), 4).double().eval()
    x, z = torch.rand(3, 3, 8, 8, dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64)
    right, wrong = torch.randint(1, 9, (2, 3, 5))
    critic, _ = cells["matching_losses"](G, D, E, x, right, wrong, z)
    after = {name: stepped(net, cells["matching_losses"](G, D, E, x, right, wrong, z)[0]) for name, net in (("D", D), ("E", E))}
    _, generator = cells["matching_losses"](G, with_weights(D, after["D"]), E, x, right, wrong, z)
    g_after = stepped(G, generator)
    opt_d = torch.optim.SGD([*D.parameters(), *E.parameters()], LR)
    got = text_step(G, D, E, *descent(G), opt_d, x, right, wrong[None], z)
    torch.testing.assert_close(got, (critic.detach(), generator.detach()))
    for net, values in ((D, after["D"]), (E, after["E"]), (G, g_after)):
        torch.testing.assert_close(weights(net), values)
