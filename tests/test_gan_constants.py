"""The papers' numbers in the losses, steps and nets of GANs, each on a case small enough to work out by hand."""
from __future__ import annotations

import inspect

import pytest
import torch
from torch import nn

from course_utils.gan import (
    HINGE, LEAST_SQUARES, MINIMAX, NON_SATURATING, WASSERSTEIN, Balance, CycleNets, GradientPenalty, Pool, ReconstructionError,
    clip_after_each_step, cls_loss, cycle_objective, cycle_step, gan_step, minimax_value, translate_step,
)
from course_utils.models import (
    RBF, ConvNet, DCCritic, DCGenerator, ELUGenerator, FCAutoEncoder, FCCritic, FCGenerator, PatchCritic, TextCritic, TextEncoder,
    TextGenerator, Translator, UNet, dcgan_init,
)
from course_utils.models.attribute_net import AttributeNet
from course_utils.models.segmenter import Segmenter
from course_utils.models.spectral import StackedSpectralNorm
from course_utils.models.units import Maxout, RowLSTM, Sigmoid, unit_net
from course_utils.models.words import Reader

# --- losses ----------------------------------------------------------------------------------------------------------

# Each value of the output: what it costs as a real sample, as a fake one, and the generator. log 2 = 0.693147, and
# softplus(2) = log(1 + e^2) = log 8.389056 = 2.126928, softplus(-2) = 0.126928.
BY_HAND = {
    (MINIMAX, 0.0): (0.693147, 0.693147, -0.693147), (MINIMAX, 2.0): (0.126928, 2.126928, -2.126928),
    (NON_SATURATING, 0.0): (0.693147, 0.693147, 0.693147), (NON_SATURATING, 2.0): (0.126928, 2.126928, 0.126928),
    (LEAST_SQUARES, 0.0): (0.5, 0.0, 0.5), (LEAST_SQUARES, 1.0): (0.0, 0.5, 0.0), (LEAST_SQUARES, -2.0): (4.5, 2.0, 4.5),
    (WASSERSTEIN, 0.0): (0.0, 0.0, 0.0), (WASSERSTEIN, -2.0): (2.0, -2.0, 2.0),
    (HINGE, 0.0): (1.0, 1.0, 0.0), (HINGE, 1.0): (0.0, 2.0, -1.0), (HINGE, -1.0): (2.0, 0.0, 1.0), (HINGE, 3.0): (0.0, 4.0, -3.0),
    (HINGE, 0.5): (0.5, 1.5, -0.5), (HINGE, -3.0): (4.0, 0.0, 3.0),
}


@pytest.mark.parametrize("loss, output", BY_HAND, ids=lambda value: getattr(value, "name", str(value)))
def test_what_one_output_costs(loss, output):
    one = torch.tensor([output])
    costs = [loss.real(one).item(), loss.fake(one).item(), loss.for_generator(one).item()]
    assert costs == pytest.approx(BY_HAND[loss, output], abs=1e-6)
    assert loss.for_critic(one, one).item() == pytest.approx(sum(costs[:2]), abs=1e-6)


def test_a_loss_is_the_mean_over_two_samples_and_the_sum_over_two_runs():
    outputs = torch.tensor([[0.0, 2.0], [1.0, 3.0]])
    assert WASSERSTEIN.for_critic(outputs, 2 * outputs).item() == (-1 - 2) + (2 + 4)
    assert WASSERSTEIN.for_generator(outputs).item() == -1 - 2


def test_the_value_of_the_game():
    zero, two = torch.zeros(2), torch.full((2,), 2.0)
    assert minimax_value(zero, zero).item() == pytest.approx(-1.386294, abs=1e-6)  # -log 4, where D can't tell
    assert minimax_value(two, zero).item() == pytest.approx(-0.126928 - 0.693147, abs=1e-6)
    assert minimax_value(zero, two).item() == pytest.approx(-0.693147 - 2.126928, abs=1e-6)
    assert minimax_value(50 * two, -50 * two).item() == pytest.approx(0, abs=1e-6)  # the best that D can do


def test_the_matching_aware_loss_on_one_pair():
    """Right 0, wrong 2, fake -2: log 2 + (2.126928 + 0.126928) / 2. Without a wrong text the fake counts in full."""
    right, wrong, fake = torch.tensor([0.0]), torch.tensor([2.0]), torch.tensor([-2.0])
    assert cls_loss(right, wrong, fake).item() == pytest.approx(0.693147 + 1.126928, abs=1e-6)
    assert cls_loss(right, None, fake).item() == pytest.approx(0.693147 + 0.126928, abs=1e-6)


# --- what bounds a critic ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slope, penalty", [((0.0, 0.0), 10.0), ((0.6, 0.8), 0.0), ((3.0, 0.0), 40.0), ((0.0, 0.5), 2.5)])
def test_the_gradient_penalty_of_a_line(slope, penalty):
    """10 (|slope| - 1)^2: 10 for a flat critic, none at slope 1, and both sides of it pay."""
    line = torch.tensor(slope, requires_grad=True)
    torch.testing.assert_close(GradientPenalty()(lambda x: x @ line, torch.rand(4, 2), torch.rand(4, 2)), torch.tensor(penalty))


def test_weights_are_cut_at_the_limit_and_not_before():
    weights = nn.Parameter(torch.tensor([0.009, 0.01, 0.011, -0.011, -0.009]))
    clip_after_each_step(torch.optim.SGD([weights], 1.0), 0.01)
    assert weights.tolist() == pytest.approx([0.009, 0.01, 0.01, -0.01, -0.009])


# --- BEGAN -------------------------------------------------------------------------------------------------------------


def test_two_updates_of_the_balance():
    """gamma 0.5, rate 0.1. On 1 and 0.3: gap 0.2, k = 0.02, M = 1.2. On 1 and 0.6: gap -0.1, k = 0.01, M = 1.1."""
    balance = Balance(0.5, 0.1)
    assert balance.update(torch.tensor(1.0), torch.tensor(0.3)).item() == pytest.approx(1.2)
    assert balance.k.item() == pytest.approx(0.02)
    assert balance.critic_loss(torch.tensor(1.0), torch.tensor(0.6)).item() == pytest.approx(1 - 0.02 * 0.6)
    assert balance.update(torch.tensor(1.0), torch.tensor(0.6)).item() == pytest.approx(1.1)
    assert balance.k.item() == pytest.approx(0.01)


@pytest.mark.parametrize("k, on_fake, after", [(0.99, 0.0, 1.0), (0.01, 9.0, 0.0)])
def test_the_balance_ends_at_0_and_at_1(k, on_fake, after):
    balance = Balance(1.0, 0.1)
    balance.k = torch.tensor(k)
    balance.update(torch.tensor(1.0), torch.tensor(on_fake))
    assert balance.k.item() == after


def test_the_reconstruction_error_of_one_point():
    """(1, -2) reconstructed as (0, 0): a mean absolute error of 1.5."""
    assert ReconstructionError(nn.ReLU().requires_grad_(False))(torch.tensor([[-1.0, -2.0]])).tolist() == [1.5]


# --- translation -------------------------------------------------------------------------------------------------------


class Scale(nn.Module):
    """w x."""

    def __init__(self, weight: float = 0.7) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))

    def forward(self, x):
        return self.weight * x


class Silent(nn.Module):
    """A critic that says 0 of everything."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, *pictures):
        return (self.weight * pictures[-1]).flatten(1).mean(1)


def test_pix2pix_weighs_the_distance_with_100():
    """|2 - w| falls by 1 as w grows by 1: the step of 0.001 moves w by 0.001 * 100. The critic's answer 0 costs log 2."""
    G, D = Scale(), Silent()
    a, b = torch.ones(2, 1, 2, 2), torch.full((2, 1, 2, 2), 2.0)
    opts = torch.optim.SGD(G.parameters(), 0.001), torch.optim.SGD(D.parameters(), 0.0)
    d_loss, g_loss, distance = translate_step(G, D, *opts, a, b)
    assert G.weight.item() == pytest.approx(0.8)
    assert (d_loss.item(), g_loss.item(), distance.item()) == pytest.approx((1.386294, 0.693147, 1.3), abs=1e-6)


def cycle_nets() -> CycleNets:
    scales = iter((2.0, 1.0))  # to_b doubles, to_a leaves everything as it is
    return CycleNets(lambda: Scale(next(scales)), Silent)


def test_the_cycle_weighs_10_and_both_players_losses_are_the_halves_of_the_papers():
    """a = 0.5 comes back as 1, b = 0.25 as 0.5: 0.5 + 0.25. Critics that say 0: (0 - 1)^2 / 2 for each translator,
    and as much on each kind of real picture, of which the critics' loss takes half."""
    a, b = torch.full((1, 1, 2, 2), 0.5), torch.full((1, 1, 2, 2), 0.25)
    nets = cycle_nets()
    assert cycle_objective(nets, a, b, 10.0)[0].item() == 1 + 10 * 0.75
    opts = [torch.optim.SGD(parts, 0.0) for parts in (nets.translators(), nets.critics())]
    d_loss, g_loss = cycle_step(nets, *opts, (Pool(), Pool()), a, b)
    assert (d_loss.item(), g_loss.item()) == (0.5, 8.5)


def test_a_pool_holds_50_pictures_and_exchanges_below_one_half(monkeypatch):
    pool = Pool()
    pool.exchange(torch.zeros(60, 1, 1, 1))
    assert len(pool) == 50
    draws, places = iter([0.0, 0.4999, 0.5, 0.9999]), iter([0, 49])
    monkeypatch.setattr(torch, "rand", lambda *_, **__: torch.tensor(next(draws)))
    monkeypatch.setattr(torch, "randint", lambda high, *_, **__: torch.tensor(next(places)) if high == 50 else None)
    assert pool.exchange(torch.ones(4, 1, 1, 1)).flatten().tolist() == [0, 0, 1, 1]
    assert torch.stack(pool.state_dict()["kept"]).flatten().nonzero().flatten().tolist() == [0, 49]


def test_a_pool_exchanges_any_of_its_pictures():
    torch.manual_seed(0)
    pool = Pool(3)
    pool.exchange(torch.arange(3.0).view(3, 1, 1, 1))
    seen = {value for _ in range(60) for value in pool.exchange(torch.full((1, 1, 1, 1), 9.0)).flatten().tolist()}
    assert seen == {0.0, 1.0, 2.0, 9.0}


# --- what a step does unless it is told otherwise ------------------------------------------------------------------------


def test_a_gan_step_is_one_of_each_with_the_loss_that_does_not_saturate():
    defaults = {name: p.default for name, p in inspect.signature(gan_step).parameters.items() if p.default is not p.empty}
    assert defaults == {"k": 1, "loss": NON_SATURATING, "penalty": None, "together": False, "reuse": False}


# --- nets --------------------------------------------------------------------------------------------------------------

GREY = (1, 16, 16)
LEAKY = {
    "DCCritic": lambda: DCCritic(GREY, 2), "FCCritic": lambda: FCCritic(GREY, (4, 4)), "FCGenerator": lambda: FCGenerator(3, GREY, (4, 4)),
    "PatchCritic": lambda: PatchCritic(1, 2, 1), "UNet": lambda: UNet(1, 1, 2, 3), "TextCritic": lambda: TextCritic(3, GREY, 2),
    "TextGenerator": lambda: TextGenerator(3, 3, GREY, 2),
}


@pytest.mark.parametrize("name", LEAKY)
def test_leaky_relus_let_a_fifth_through(name):
    slopes = [layer.negative_slope for layer in LEAKY[name]().modules() if isinstance(layer, nn.LeakyReLU)]
    assert slopes and set(slopes) == {0.2}


def test_what_a_text_critic_sees_is_leaky_too():
    D = TextCritic(3, GREY, 2)
    nn.init.zeros_(D.maps[-1].weight)
    D.maps[-1].bias.data = torch.tensor([-1.0, 0.0, 2.0])
    torch.testing.assert_close(D.look(torch.rand(1, *GREY)).detach(), torch.tensor([[-0.2, 0.0, 2.0]]))


def moments(weight: torch.Tensor) -> tuple[float, float]:
    return weight.mean().item(), weight.std().item()


@pytest.mark.parametrize("make, wanted", [
    (lambda: dcgan_init(nn.Linear(200, 200)).weight, (0.0, 0.02)), (lambda: dcgan_init(nn.BatchNorm2d(40_000)).weight, (1.0, 0.02)),
    (lambda: UNet(1, 1, 32, 3).down[1][0].weight, (0.0, 0.02)), (lambda: PatchCritic(1, 32, 1).net[2].weight, (0.0, 0.02)),
    (lambda: Translator(3, 64, 1).inner[3].change[0].weight, (0.0, 0.02)), (lambda: TextEncoder(400, 100).vectors.weight, (0.0, 0.05)),
])
def test_weights_begin_normal(make, wanted):
    """At least 32 000 of them: their standard deviation is off by half a percent."""
    torch.manual_seed(0)
    mean, std = moments(make().detach())
    assert mean == pytest.approx(wanted[0], abs=0.001) and std == pytest.approx(wanted[1], rel=0.03)


def test_a_translator_begins_with_the_picture_in_its_own_place():
    torch.manual_seed(0)
    last = Translator(3, 4, 1).last.weight.detach()[:, 2:]
    own = torch.eye(3, dtype=torch.bool)
    assert last[:, :, 2, 2][own].tolist() == pytest.approx([1.0] * 3, abs=0.1) and last[:, :, 2, 2][~own].abs().max() < 0.1


@pytest.mark.parametrize("make, last", [
    (lambda: DCGenerator(3, GREY, 2), lambda G: G.net[-2]), (lambda: FCGenerator(3, GREY, (4, 4)), lambda G: G.net[-2]),
    (lambda: ELUGenerator(3, GREY, 2), lambda G: G.net[-2]), (lambda: TextGenerator(3, 3, GREY, 2), lambda G: G.net.net[-2])])
def test_pictures_reach_from_0_to_1_with_one_half_in_the_middle(make, last):
    G = make().eval()
    inputs = [torch.randn(2, 3)] * (2 if isinstance(G, TextGenerator) else 1)
    nn.init.zeros_(last(G).weight)
    for bias, value in ((-100.0, 0.0), (0.0, 0.5), (100.0, 1.0)):
        nn.init.constant_(last(G).bias, bias)
        assert torch.equal(G(*inputs), torch.full((2, *GREY), value))


@pytest.mark.parametrize("make", [lambda: UNet(1, 1, 2, 2), lambda: Translator(1, 2, 1)])
def test_so_do_translations(make):
    G = make().eval()
    last = G.last if isinstance(G, Translator) else G.up[-1][0]
    nn.init.zeros_(last.weight)
    for bias, value in ((-100.0, 0.0), (0.0, 0.5), (100.0, 1.0)):
        nn.init.constant_(last.bias, bias)
        assert torch.equal(G(torch.rand(2, *GREY)), torch.full((2, *GREY), value))


def test_an_auto_encoder_has_a_bottleneck_of_8_and_elus():
    linear = [layer for layer in FCAutoEncoder(GREY).modules() if isinstance(layer, nn.Linear)]
    assert [layer.out_features for layer in linear] == [64, 8, 64, 256]
    assert sum(isinstance(layer, nn.ELU) for layer in FCAutoEncoder(GREY).modules()) == 3


FIRST = {  # net, its first layer, and what that layer is to get of a black and of a white picture
    "ConvNet": (lambda: ConvNet(GREY, 2), lambda net: net.hidden[0], (-0.5, 0.5)),
    "AttributeNet": (lambda: AttributeNet(GREY, {"a": 2}), lambda net: net.hidden[0], (-0.5, 0.5)),
    "Segmenter": (lambda: Segmenter(1, 2), lambda net: net.to_two[0], (-0.5, 0.5)),
    "DCCritic": (lambda: DCCritic(GREY, 2), lambda net: net.net[0], (-1, 1)),
    "FCCritic": (lambda: FCCritic(GREY, (4, 4)), lambda net: net.net[1], (-1, 1)),
    "PatchCritic": (lambda: PatchCritic(1, 2, 1), lambda net: net.net[0], (-1, 1)),
    "TextCritic": (lambda: TextCritic(3, GREY, 2), lambda net: net.maps[0], (-1, 1)),
    "UNet": (lambda: UNet(1, 1, 2, 3), lambda net: net.down[0][0], (-1, 1)),
    "Translator": (lambda: Translator(1, 2, 1), lambda net: net.inner[0], (-1, 1)),
}


@pytest.mark.parametrize("name", FIRST)
def test_nets_see_pictures_around_0(name):
    make, first, wanted = FIRST[name]
    net, seen = make().eval(), []
    first(net).register_forward_pre_hook(lambda _layer, inputs: seen.append(inputs[0]))
    for grey, value in zip((0.0, 1.0), wanted):
        pictures = torch.full((2, *GREY), grey)
        net.look(pictures) if isinstance(net, TextCritic) else net(pictures)
        assert (seen.pop() == value).all()


@pytest.mark.parametrize("net", [UNet(1, 1, 1, 6), PatchCritic(1, 1, 5)], ids=["UNet", "PatchCritic"])
def test_maps_double_up_to_eight_times(net):
    maps = [layer.out_channels for layer in net.modules() if isinstance(layer, nn.Conv2d)]
    assert maps == ([1, 2, 4, 8, 8, 8] if isinstance(net, UNet) else [1, 2, 4, 8, 8, 8, 1])


def test_the_unets_dropout_is_behind_the_innermost_layer_with_its_share():
    places = {i: [d.p for d in layer.modules() if isinstance(d, nn.Dropout2d)] for i, layer in enumerate(UNet(1, 1, 2, 3, 0.3).up)}
    assert places == {0: [0.3], 1: [], 2: []}


def test_batch_norm_is_torchs_and_nothing_is_added_before_it():
    for net in (DCGenerator(3, GREY, 2), DCCritic(GREY, 2)):
        layers = list(net.net)
        norms = [(before, layer) for before, layer in zip(layers, layers[1:]) if isinstance(layer, nn.BatchNorm2d)]
        assert norms and all(before.bias is None and (norm.eps, norm.momentum, norm.affine) == (1e-5, 0.1, True) for before, norm in norms)


def test_an_rbf_unit_by_hand():
    """Two inputs: beta = 6 / 2. At a distance of (0.3, 0.4), squared 0.25: exp(-0.75) = 0.472367; at the centre 1."""
    layer = RBF(2, 1)
    layer.centres.data = torch.tensor([[0.5, 0.5]])
    answers = layer(torch.tensor([[0.5, 0.5], [0.8, 0.9]])).flatten().tolist()
    assert answers == pytest.approx([1.0, 0.472367], abs=1e-5)


def test_maxout_has_four_pieces_and_is_the_largest_of_them():
    layer = Maxout(1, 1)
    layer.linear.weight.data, layer.linear.bias.data = torch.tensor([[1.0], [-1.0], [0.0], [3.0]]), torch.tensor([0.0, 0.0, 0.5, -9.0])
    assert layer(torch.tensor([[2.0], [-2.0], [0.1], [5.0]])).flatten().tolist() == [2.0, 2.0, 0.5, 6.0]


def test_the_sigmoids_gains():
    """2 sigmoid(x / 2) - 1 at 2 is tanh(1 / 2) = 0.462117; at a gain of 30, 0.01 gives tanh(0.15) = 0.148885."""
    for kind, gain, x, value in (("tuned sigmoid", 0.5, 2.0, 0.462117), ("saturated sigmoid", 30.0, 0.01, 0.148885)):
        units = [layer for layer in unit_net(kind, GREY, 2).modules() if isinstance(layer, Sigmoid)]
        assert [unit.gain for unit in units] == [gain, gain]
        assert units[0](torch.tensor(x)).item() == pytest.approx(value, abs=1e-6)


def test_an_lstm_begins_with_1_more_in_its_forget_gates():
    torch.manual_seed(0)
    begun = RowLSTM(GREY, 2, width=3).lstm.bias_ih_l0.detach()
    torch.manual_seed(0)
    plain = nn.LSTM(1 * 16 * 4, 3, batch_first=True).bias_ih_l0.detach()
    torch.testing.assert_close(begun - plain, torch.tensor([0.0] * 3 + [1.0] * 3 + [0.0] * 6))


def test_one_call_is_one_round_of_the_power_iteration():
    """diag(2, 1), from the vector (1, 1) / sqrt 2: one round gives (2, 1) / sqrt 5, then (4, 1) / sqrt 17, and
    sigma = (2 * 2 * 4 + 1) / sqrt(5 * 17) = 17 / sqrt 85 = 1.843909. A call in eval mode goes on from there without a round."""
    weight = torch.diag(torch.tensor([2.0, 1.0]))[None]
    norm = StackedSpectralNorm(weight)
    norm.right.fill_(0.5**0.5)
    for mode in (True, False):
        torch.testing.assert_close(norm.train(mode)(weight), weight / 1.843909)


def test_a_spectral_norm_begins_after_fifteen_rounds():
    """From any start, the part of diag(2, 1) that is left of the smaller vector falls by four each round."""
    torch.manual_seed(0)
    norm = StackedSpectralNorm(torch.diag(torch.tensor([2.0, 1.0], dtype=torch.float64)).expand(50, 2, 2)).eval()
    torch.manual_seed(0)
    torch.randn(50, 1, 2)
    start = torch.randn(50, 2, 1).double()
    torch.testing.assert_close((norm.right[:, 1] / norm.right[:, 0]).abs(), (start[:, 1] / start[:, 0]).abs() / 4.0**15)


def test_a_reader_sees_a_word_with_the_four_before_it():
    torch.manual_seed(0)
    reader = Reader(torch.full((5,), 0.2), size=2, width=3)
    vectors = torch.randn(1, 12, 2)
    moved = vectors.clone()
    moved[0, 4] += 1
    changed = (reader.states(vectors) != reader.states(moved)).any(dim=2)[0]
    assert changed.nonzero().flatten().tolist()[0] == 4 and changed.nonzero().max() == 8
