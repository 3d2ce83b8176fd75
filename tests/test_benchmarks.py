"""The benchmarks compare like with like: both ways of every comparison do the same mathematics."""
from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate

from benchmarks import dcgan, gan_step, loops, report, sizes, stack, timing, tricks, wgan_gp
from benchmarks.same import expect_same, largest_difference, overall_difference
from course_utils import data, gan
from course_utils.gan.losses import WASSERSTEIN
from course_utils.gan.penalty import GradientPenalty, gradient_norm
from course_utils.training.optimizers import adam

DOUBLE = torch.float64
FEW = 4  # pictures in a minibatch of a proof


@pytest.fixture(scope="module")
def digits() -> data.ImageSet:
    return data.load("digits")


@pytest.fixture(scope="module")
def padded(digits) -> data.ImageSet:
    return dcgan.padded(digits)


# ---- the picture GANs --------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [28, 32])
def test_both_ways_train_on_the_same_pictures(digits, padded, side):
    pictures = digits if side == 28 else padded
    items = loops.Pictures(pictures)
    assert len(items) == len(pictures)
    for i in (0, 7, len(pictures) - 1):
        picture, label = items[i]
        torch.testing.assert_close(picture, 2 * pictures.images[i] - 1, rtol=0, atol=1e-6)
        assert label == pictures.labels[i]
    for source in (loops.loaded(pictures), loops.by_index(pictures)):
        x = next(source)
        assert x.shape == (64, 1, side, side) and x.min() == -1 and x.max() == 1
    assert 0 <= pictures.images.min() and pictures.images.max() <= 1  # the scaling left the set alone


@pytest.mark.parametrize("module", [gan_step, dcgan, wgan_gp])
@pytest.mark.parametrize("dtype", [DOUBLE, torch.float32])
@pytest.mark.parametrize("reuse", [False, True])
def test_both_ways_end_with_the_same_weights(digits, padded, module, dtype, reuse):
    ways = module.ways() if module is wgan_gp else module.ways(reuse)
    batch = FEW if dtype == DOUBLE or module is dcgan else loops.BATCH
    expect_same(loops.difference(ways, padded if module is dcgan else digits, 2, dtype, batch), dtype, "step")


def expect_noticed(ways, pictures, steps=2, **wrong):
    """The course's way with another step or with other players counts as other mathematics."""
    wrong_ways = {**ways, "course": replace(ways["course"], **wrong)}
    with pytest.raises(ArithmeticError, match="not the same mathematics"):
        expect_same(loops.difference(wrong_ways, pictures, steps, DOUBLE, FEW), DOUBLE, "step")


def other_fakes(p, data, noise, **how):
    gan.gan_step(p.G, p.D, p.opt_g, p.opt_d, data, noise, reuse=True, **how)


def other_loss(p, data, noise, **how):
    gan.gan_step(p.G, p.D, p.opt_g, p.opt_d, data, noise, loss=gan.MINIMAX, **how)


def other_order(p, data, noise):
    gan.generator_step(p.G, p.D, p.opt_g, noise(), gan.NON_SATURATING)
    gan.critic_step(p.G, p.D, p.opt_d, data(), noise(), gan.NON_SATURATING)


def joined(p, data, noise):
    gan.gan_step(p.G, p.D, p.opt_g, p.opt_d, data, noise, together=True)


@pytest.mark.parametrize("step", [other_fakes, other_loss, other_order])
def test_other_mathematics_of_a_gan_is_noticed(digits, step):
    expect_noticed(gan_step.ways(False), digits, step=step)


@pytest.mark.parametrize("step", [other_fakes, other_loss, other_order, joined])  # joined: D's batch norm mixes real and fake
def test_other_mathematics_of_a_dcgan_is_noticed(padded, step):
    expect_noticed(dcgan.ways(False), padded, step=step)


@pytest.mark.parametrize("rate", [0.0, 0.2])
def test_other_masks_of_dropout_are_noticed(padded, rate):
    def make(dtype):
        p = dcgan.course(False).players(dtype)
        for layer in p.D:
            if isinstance(layer, nn.Dropout2d):
                layer.p = rate
        return p

    expect_noticed(dcgan.ways(False), padded, players=make)


def test_another_kernel_for_upsampling_and_convolution_is_noticed(padded, monkeypatch):
    monkeypatch.setattr(dcgan, "FOUR_FROM_THREE", dcgan.FOUR_FROM_THREE.flip(0))
    expect_noticed(dcgan.ways(False), padded)


def at_reals(D, real, fake):
    return 10 * (gradient_norm(D, real, create_graph=True) - 1).square().mean()


def one_sided(D, real, fake):
    return 10 * (gradient_norm(D, gan.penalty.between(real, fake), create_graph=True) - 1).relu().square().mean()


@pytest.mark.parametrize("wrong", [
    {"k": 4}, {"penalty": None}, {"penalty": GradientPenalty(9.0)}, {"penalty": at_reals}, {"penalty": one_sided},
    {"loss": gan.NON_SATURATING}, {"reuse": True},
])
def test_other_mathematics_of_a_wgan_is_noticed(digits, wrong):
    how = {"k": 5, "loss": WASSERSTEIN, "penalty": GradientPenalty(10.0), **wrong}

    def step(p, data, noise):
        gan.gan_step(p.G, p.D, p.opt_g, p.opt_d, data, noise, **how)

    expect_noticed(wgan_gp.ways(), digits, 1, step=step)


@pytest.mark.parametrize("size", [(4, 4), (5, 3), (1, 1)])
def test_a_doubled_convolution_is_upsampling_and_convolution(size):
    torch.manual_seed(0)
    one = dcgan.DoubledConv2d(3, 2, 3, padding=1).to(DOUBLE)
    two = nn.Conv2d(3, 2, 3, padding=1).to(DOUBLE)
    two.load_state_dict(one.state_dict())
    x = torch.randn(2, 3, *size, dtype=DOUBLE)
    torch.testing.assert_close(one(x), two(interpolate(x, scale_factor=2, mode="nearest")))


# ---- one change at a time ----------------------------------------------------------------------------


@pytest.mark.parametrize("change", tricks.changes())
def test_each_change_of_the_gan_alone_is_the_same_mathematics(digits, change):
    ways = {"baseline": tricks.ways()["plain loop"], "course": tricks.changes()[change]}
    expect_same(loops.difference(ways, digits, 2, DOUBLE, FEW), DOUBLE, change)


@pytest.mark.parametrize("module", [dcgan, wgan_gp])
def test_each_change_of_the_others_alone_is_the_same_mathematics(digits, padded, module):
    plain, *others = module.changes().values()
    for other in others:
        pair = {"baseline": plain, "course": other}
        expect_same(loops.difference(pair, padded if module is dcgan else digits, 1, DOUBLE, FEW), DOUBLE, "change")


# ---- nets of the same sizes --------------------------------------------------------------------------


def sizes_after_each_layer(net, x):
    """(maps, side) that the layers before each activation give, in order."""
    found = []
    for layer in net.net:
        x = layer(x)
        if isinstance(layer, (nn.ReLU, nn.LeakyReLU, nn.Tanh)):
            found.append(tuple(x.shape[1:]))
    return found


def test_what_is_compared_in_cost_has_the_same_sizes():
    z, x = torch.randn(2, loops.LATENT, 1, 1), torch.rand(2, *sizes.SHAPE)
    wanted = sizes_after_each_layer(sizes.transposed(), z)
    assert wanted == [(128, 4, 4), (64, 8, 8), (32, 16, 16), (1, 32, 32)]
    assert sizes_after_each_layer(sizes.upsampled(3), z) == sizes_after_each_layer(sizes.upsampled(5), z) == wanted
    assert sizes_after_each_layer(sizes.pooled(), x) == sizes_after_each_layer(sizes.strided(), x)
    assert sizes.pooled()(x).shape == (2,)


def test_transposed_convolutions_need_less_than_half_of_the_operations(padded):
    course, three, own_order, five = (sizes.operations(one) for one in sizes.passes().values())
    assert 2 * course < three == own_order < five
    steps = loops.contestants(sizes.steps(), padded, 1).values()
    course, plain_loop, same_loop, other_critic = (sizes.operations(step) for step in steps)
    assert course < same_loop <= plain_loop and 2 * course < other_critic
    assert all(name in [*sizes.passes(), *sizes.steps()] for name in sizes.TWICE_AS_DEAR)


# ---- the stack ---------------------------------------------------------------------------------------


def test_each_net_of_a_stack_ends_as_it_does_alone():
    expect_same(stack.difference(3, 5, DOUBLE), DOUBLE, "stack")
    expect_same(stack.difference(3, 5, torch.float32), torch.float32, "stack")


def test_a_stack_in_the_wrong_order_is_noticed(monkeypatch):
    right = stack.stacked
    monkeypatch.setattr(stack, "stacked", lambda pairs: right(pairs[::-1]))
    with pytest.raises(ArithmeticError):
        expect_same(stack.difference(2, 1, torch.float32), torch.float32, "stack")


@pytest.mark.parametrize("reuse", [False, True])
def test_real_and_fake_together_is_the_same_for_a_stack(reuse):
    x, z = torch.randn(2, 3, 16, 2, dtype=DOUBLE), torch.randn(3, 3, 16, 2, dtype=DOUBLE)
    ends = []
    for together in (False, True):
        G, D = stack.stacked(stack.nets(3, DOUBLE))
        xs, zs = iter(x), iter(z)
        gan.gan_step(G, D, adam(G.parameters()), adam(D.parameters()), lambda: next(xs), lambda: next(zs),
                     k=2, together=together, reuse=reuse)
        assert len(list(xs)) == 0 and len(list(zs)) == (1 if reuse else 0)
        ends.append(nn.ModuleList([G, D]))
    expect_same(largest_difference(*ends), DOUBLE, "together")


# ---- differences, turns, the table -------------------------------------------------------------------


def test_differences_are_relative_and_nan_is_one():
    a, b = nn.Linear(2, 2), nn.Linear(2, 2)
    b.load_state_dict(a.state_dict())
    assert largest_difference(a, b) == 0
    with torch.no_grad():
        b.weight.mul_(2)
    assert largest_difference(a, b) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="b: expected the tensors"):
        largest_difference(a, nn.Linear(2, 2, bias=False))
    with pytest.raises(ArithmeticError):
        expect_same(float("nan"), DOUBLE, "nothing")


def test_the_overall_difference_is_of_all_parameters_as_one_vector():
    a, b = nn.Linear(1, 2), nn.Linear(1, 2)
    with torch.no_grad():
        for net, weight in ((a, 3.0), (b, 4.0)):
            net.weight.fill_(weight)
            net.bias.fill_(3.0)
    assert overall_difference(a, b) == pytest.approx((2 / (2 * 16 + 2 * 9)) ** 0.5)


def test_turns_change_their_order_and_the_first_is_not_timed():
    calls = []
    seconds = timing.in_turns({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=2)
    assert "".join(calls) in ("ab" + "abba", "ab" + "baab") and {len(values) for values in seconds.values()} == {2}


def test_a_row_takes_the_ratio_round_by_round():
    seconds = {"baseline": [3.0, 30.0, 8.0], "course": [1.0, 10.0, 4.0]}  # 3, 3 and 2 times
    row = report.row("step", seconds, steps=4, required=2.9)
    assert row.ratio == 3 and row.quartiles == (2.5, 3) and (row.baseline, row.course) == (2000, 1000)
    assert row.reached == "yes" and report.row("step", seconds, 4, required=3.1).reached == "no"
    assert report.row("step", seconds, 4).reached == ""
    assert report.table([row]).splitlines()[1].split()[-2:] == ["2.9", "yes"]


def test_figures_are_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_BUILD_DIR", str(tmp_path))
    row = report.row("step", {"baseline": [3.0], "course": [1.0]}, steps=1, required=1.5)
    kept = json.loads(report.write([row], ["checked"]).read_text(encoding="utf-8"))
    assert kept["rows"][0]["ratio"] == 3 and kept["rows"][0]["reached"] == "yes" and kept["checks"] == ["checked"]
    assert kept["machine"]["threads"] == torch.get_num_threads()
    assert (tmp_path / "bench.json").is_file()
