"""The checker of the five guidelines: it passes the course's nets, names each broken guideline alone, and isn't fooled by spelling."""
from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from course_utils.models import DCCritic, DCGenerator, FCCritic, FCGenerator, dcgan_init
from course_utils.models.dcgan import halvings
from course_utils.models.guidelines import GUIDELINES, broken_guidelines
from course_utils.models.swap import swap

SHAPE, LATENT = (3, 32, 32), 10


def nets():
    return DCGenerator(LATENT, SHAPE, 4), DCCritic(SHAPE, 4)


def strided(layer):
    return layer.stride != (1, 1)


def upsampled(layer):
    return nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(layer.in_channels, layer.out_channels, 3, padding=1)) if strided(layer) else layer


def pooled(layer):
    return nn.Sequential(nn.Conv2d(layer.in_channels, layer.out_channels, 3, padding=1), nn.AvgPool2d(2)) if strided(layer) else layer


def hidden(layer):
    return layer if strided(layer) else nn.Sequential(
        nn.Flatten(), nn.Linear(16 * 4 * 4, 8), nn.BatchNorm1d(8), nn.LeakyReLU(0.2), nn.Linear(8, 1))


def drop(_layer):
    return nn.Identity()


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 64, 64)])
def test_the_courses_dcgan_keeps_all_five(shape):
    assert broken_guidelines(DCGenerator(LATENT, shape, 4), DCCritic(shape, 4), LATENT) == []


@pytest.mark.parametrize("change, broken", [
    (lambda G, D: (swap(G, nn.ConvTranspose2d, upsampled), D), "strided convolutions"),
    (lambda G, D: (G, swap(D, nn.Conv2d, pooled)), "strided convolutions"),
    (lambda G, D: (swap(G, nn.BatchNorm2d, drop), D), "batch norm"),
    (lambda G, D: (G, swap(D, nn.BatchNorm2d, drop)), "batch norm"),
    (lambda G, D: (G, swap(D, nn.BatchNorm2d, lambda layer: nn.GroupNorm(1, layer.num_features))), "batch norm"),
    (lambda G, D: (G, swap(D, nn.Conv2d, hidden)), "no hidden layers"),
    (lambda G, D: (swap(G, nn.ReLU, lambda _: nn.Tanh()), D), "ReLU in G"),
    (lambda G, D: (swap(G, nn.ReLU, lambda _: nn.LeakyReLU(0.2)), D), "ReLU in G"),
    (lambda G, D: (swap(G, nn.Tanh, lambda _: nn.Sigmoid()), D), "ReLU in G"),
    (lambda G, D: (G, swap(D, nn.LeakyReLU, lambda _: nn.ReLU())), "LeakyReLU in D")])
def test_each_broken_guideline_is_named_and_no_other(change, broken):
    assert broken_guidelines(*change(*nets()), LATENT) == [broken]


def test_fully_connected_nets_break_what_they_break():
    found = broken_guidelines(FCGenerator(LATENT, SHAPE, (8, 8)), FCCritic(SHAPE, (8, 8)), LATENT)
    assert found == ["strided convolutions", "batch norm", "no hidden layers", "ReLU in G"]


class Functional(nn.Module):
    """The critic with a function where others have a layer."""

    def __init__(self, between):
        super().__init__()
        self.first, self.norm, self.second, self.between = nn.Conv2d(3, 4, 4, 2, 1), nn.BatchNorm2d(8), nn.Conv2d(4, 8, 4, 2, 1), between
        self.last = nn.LazyConv2d(1, 4)

    def forward(self, x):
        return self.last(F.leaky_relu(self.norm(self.second(self.between(self.first(x)))), 0.2)).flatten(1)[:, 0]


@pytest.mark.parametrize("between, broken", [
    (lambda x: F.leaky_relu(x, 0.2), []), (torch.relu, ["LeakyReLU in D"]), (lambda x: x.relu(), ["LeakyReLU in D"]),
    (lambda x: F.max_pool2d(F.leaky_relu(x, 0.2), 2), ["strided convolutions"]),
    (lambda x: F.interpolate(F.leaky_relu(x, 0.2), scale_factor=2.0), ["strided convolutions"])])
def test_functions_count_like_layers(between, broken):
    assert broken_guidelines(nets()[0], Functional(between), LATENT) == broken


def test_the_checker_changes_nothing():
    G, D = nets()
    G.train(), D.eval()
    before = [{name: value.clone() for name, value in net.state_dict().items()} for net in (G, D)]
    state = torch.get_rng_state()
    broken_guidelines(G, D, LATENT)
    assert G.training and not D.training and torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(old[name], value) for net, old in zip((G, D), before) for name, value in net.state_dict().items())


def test_nets_without_layers_are_refused():
    with pytest.raises(ValueError, match="D: expected a net with at least two layers"):
        broken_guidelines(nets()[0], nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 1)), LATENT)
    assert len(GUIDELINES) == 5


# ---------------------------------------------------------------- the nets themselves


def test_pictures_and_logits_have_their_shape_and_range():
    G, D = nets()
    pictures = G(torch.randn(5, LATENT))
    assert pictures.shape == (5, *SHAPE) and 0 <= pictures.min() and pictures.max() <= 1
    assert D(pictures).shape == (5,) and [tuple(f.shape[1:]) for f in D.features(pictures)] == [(4, 16, 16), (8, 8, 8), (16, 4, 4)]


def test_the_features_are_what_the_verdict_is_made_of():
    _, D = nets()
    x = torch.rand(4, *SHAPE)
    torch.testing.assert_close(D.net[-1](D.eval().features(x)[-1]).flatten(), D(x))


def test_d_sees_pictures_from_minus_one_to_one_and_g_covers_them():
    G, D = nets()
    with torch.no_grad():
        G.net[-2].bias.fill_(100.0)
        assert torch.equal(G(torch.randn(2, LATENT)), torch.ones(2, *SHAPE))
        D.net[0].weight.fill_(1.0)
        assert D.features(torch.full((1, *SHAPE), 0.5))[0].abs().max() == 0  # mid-grey is 0


def test_weights_begin_as_in_the_paper():
    torch.manual_seed(0)
    for net in (DCGenerator(100, SHAPE, 32), DCCritic(SHAPE, 32), dcgan_init(nn.Sequential(nn.Linear(300, 300)))):
        for name, weight in net.named_parameters():
            if weight.ndim > 1 and weight.numel() > 1000:
                assert weight.std().item() == pytest.approx(0.02, rel=0.1) and abs(weight.mean().item()) < 0.003
            elif name.endswith("bias"):
                assert weight.abs().max() == 0


@pytest.mark.parametrize("side, expected", [(32, (3, 4)), (28, (2, 7)), (64, (4, 4)), (8, (1, 4)), (24, (2, 6))])
def test_how_often_a_side_is_halved(side, expected):
    assert halvings((3, side, side)) == expected


@pytest.mark.parametrize("shape", [(3, 32, 28), (3, 9, 9), (3, 4, 4)])
def test_sides_that_do_not_halve_are_refused(shape):
    with pytest.raises(ValueError, match="shape: expected"):
        DCCritic(shape)


def test_swap_leaves_the_original_and_refuses_to_change_nothing():
    G, D = nets()
    changed = swap(D, nn.LeakyReLU, lambda layer: nn.ELU())
    assert sum(isinstance(m, nn.ELU) for m in changed.modules()) == 3 and not any(isinstance(m, nn.ELU) for m in D.modules())
    assert torch.equal(changed.net[0].weight, D.net[0].weight)
    with pytest.raises(ValueError, match="kind: expected a kind of layer that the net has .*, got Linear"):
        swap(G, nn.Linear, drop)
