"""Training on adversarial examples against closed forms of linear models."""
from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from course_utils import runtime
from course_utils.attacks import fgsm, pgd
from course_utils.data import ImageSet
from course_utils.defenses.adversarial import adversarial, from_new_points
from course_utils.training import fit

EPS = 0.1
X = 0.2 + 0.6 * torch.rand(12, 1, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)  # no step reaches the box's edge
Y = torch.arange(12) % 2


def linear() -> nn.Sequential:
    """Two classes whose logits are +-(w x + b) / 2: the cross entropy is softplus(-t (w x + b)), t = -1 or +1."""
    torch.manual_seed(1)
    net = nn.Sequential(nn.Flatten(), nn.Linear(9, 2)).double()
    with torch.no_grad():
        net[1].weight[0] = -net[1].weight[1]
        net[1].bias[0] = -net[1].bias[1]
    return net


def closed_form(net: nn.Sequential, eps: float) -> torch.Tensor:
    """Goodfellow et al. 2014, section 5: softplus(eps |w|_1 - t (w x + b)), the mean over the examples."""
    w, b = net[1].weight[1] - net[1].weight[0], net[1].bias[1] - net[1].bias[0]
    t = 2.0 * Y - 1
    return F.softplus(eps * w.abs().sum() - t * (X.flatten(1) @ w + b)).mean()


def gradients(net: nn.Module, value: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.autograd.grad(value, list(net.parameters())))


@pytest.mark.parametrize("attack", [partial(fgsm, eps=EPS), partial(pgd, eps=EPS, steps=20), from_new_points(pgd, eps=EPS, steps=20)])
@pytest.mark.parametrize("clean", [0, 0.3, 0.5, 1])
def test_value_and_gradient_are_those_of_the_closed_form(attack, clean):
    net = linear()
    loss = adversarial(net, X, Y, attack=attack, clean=clean)
    wanted = (1 - clean) * closed_form(net, EPS) + clean * closed_form(net, 0)
    assert loss.shape == ()
    torch.testing.assert_close(loss, wanted)
    for one, other in zip(gradients(net, loss), gradients(net, wanted)):
        torch.testing.assert_close(one, other)


def test_an_attack_that_changes_nothing_leaves_the_loss_as_it_was():
    net = linear()
    same = adversarial(net, X, Y, attack=lambda model, x, y: x)
    torch.testing.assert_close(same, closed_form(net, 0))
    assert (closed_form(net, EPS) - same) > 0.01  # what the test above would miss otherwise


def test_no_gradient_flows_through_the_attack():
    net, scale = linear(), nn.Parameter(torch.tensor(0.5, dtype=torch.float64))
    adversarial(net, X, Y, attack=lambda model, x, y: x * scale + 0 * model(x).sum()).backward()
    assert scale.grad is None
    fixed = F.cross_entropy(net(X * 0.5), Y)
    torch.testing.assert_close(net[1].weight.grad, torch.autograd.grad(fixed, net[1].weight)[0])


def test_any_loss_can_be_asked_for():
    net = linear()
    hinge = lambda model, x, y: F.multi_margin_loss(model(x), y)  # noqa: E731
    hinges = lambda logits, y: F.multi_margin_loss(logits, y, reduction="none")  # noqa: E731
    w, b = net[1].weight[1] - net[1].weight[0], net[1].bias[1] - net[1].bias[0]
    margin = (2.0 * Y - 1) * (X.flatten(1) @ w + b)
    wanted = 0.75 * (1 + EPS * w.abs().sum() - margin).clamp_min(0).mean() / 2 + 0.25 * (1 - margin).clamp_min(0).mean() / 2
    torch.testing.assert_close(adversarial(net, X, Y, attack=partial(pgd, eps=EPS, loss=hinges), clean=0.25, loss=hinge), wanted)


def test_new_points_at_every_call_and_the_same_again_after_seeding():
    model = lambda x: x.flatten(1)[:, :2] * 0 + x.mean() * 0  # noqa: E731  no slope: the examples stay at their random starts
    attack = from_new_points(pgd, eps=EPS, steps=1)
    runtime.seed(3)
    first, second = attack(model, X, Y), attack(model, X, Y)
    runtime.seed(3)
    torch.testing.assert_close(attack(model, X, Y), first, rtol=0, atol=0)
    assert (first - second).abs().max() > EPS / 10
    assert torch.equal(pgd(model, X, Y, eps=EPS, steps=1), pgd(model, X, Y, eps=EPS, steps=1))  # alone it begins where it did


def test_each_training_has_a_text_of_its_own():
    from course_utils.training.settings import text_of

    def text(**settings):
        return text_of(partial(adversarial, attack=from_new_points(pgd, **settings)))

    assert text(eps=0.1) == text(eps=0.1) != text(eps=0.2)
    assert " at 0x" not in text(eps=0.1)


def test_training_brings_the_robust_weights_of_a_planted_problem():
    """One strong feature and eight weak ones that a step of eps turns round: only adversarial training leaves the weak ones alone."""
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 2
    t = 2.0 * labels[:, None] - 1
    weak, strong = 0.5 + 0.15 * t + 0.05 * torch.randn(400, 8, generator=g), 0.5 + 0.3 * t + 0.1 * torch.randn(400, 1, generator=g)
    data = ImageSet(torch.cat([strong, weak], 1).clamp(0, 1).view(400, 1, 3, 3), labels, ("no", "yes"), "planted")
    shares = {}
    for name, clean in (("data", 1.0), ("attacked", 0.0)):
        runtime.seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(9, 2))
        fit(net, data, loss=partial(adversarial, attack=partial(fgsm, eps=2 * EPS), clean=clean), epochs=40, batch=50, lr=3e-2, progress=False)
        w = (net[1].weight[1] - net[1].weight[0]).detach()
        shares[name] = (w[1:].clamp_min(0).sum() / w.abs().sum()).item()
    assert shares["data"] > 0.4
    assert shares["attacked"] < 0.1


@pytest.mark.parametrize("name, wrong", [
    ("attack", {"attack": None}), ("attack", {"attack": 0.1}), ("clean", {"clean": -0.1}), ("clean", {"clean": 1.5}), ("clean", {"clean": True}),
    ("clean", {"clean": "half"}), ("loss", {"loss": None}), ("attack", {"attack": lambda model, x, y: x[:3]}), ("attack", {"attack": lambda model, x, y: None})])
def test_bad_arguments_are_named(name, wrong):
    with pytest.raises(ValueError, match=f"^{name}"):
        adversarial(linear(), X, Y, **{"attack": partial(fgsm, eps=EPS), **wrong})


@pytest.mark.parametrize("name, call", [
    ("attack", lambda: from_new_points(None, eps=EPS)), ("settings", lambda: from_new_points(pgd, generator=torch.Generator()))])
def test_bad_arguments_of_new_points_are_named(name, call):
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        call()
