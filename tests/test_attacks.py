"""Every attack in one table, held to what all attacks promise; and each against its closed form on a linear model."""
from __future__ import annotations

import copy
import math
import random
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_utils import runtime
from course_utils.attacks import (
    BALLS, AttackWarning, Camera, destruction_rate, doubts, expectation, fgsm, iterated, lbfgs, least_likely, pgd, saliency,
)
from course_utils.data import load
from course_utils.defenses import Glimpses, Hedged, Noise
from course_utils.training import evaluate, fit


@dataclass(frozen=True)
class Row:
    """One attack: how it is called, in which ball it has to stay, and what it offers."""

    attack: Callable[..., Tensor]
    eps: float
    norm: str = "linf"
    takes_eps: bool = True     # eps= may be a tensor, one for each example
    needs_labels: bool = True  # least_likely chooses its own


ATTACKS = {
    "fgsm": Row(fgsm, 0.15),
    "fgsm, L2": Row(partial(fgsm, norm="l2"), 2.0, "l2"),
    "iterated": Row(iterated, 0.15),
    "iterated, L2": Row(partial(iterated, norm="l2"), 2.0, "l2"),
    "least likely": Row(lambda model, x, y, **how: least_likely(model, x, **how), 0.15, needs_labels=False),
    "pgd": Row(partial(pgd, steps=10), 0.15),
    "pgd, L2": Row(partial(pgd, steps=10, norm="l2"), 2.0, "l2"),
    "pgd, restarts": Row(partial(pgd, steps=5, restarts=3), 0.15),
    "pgd, early stop": Row(partial(pgd, steps=10, restarts=2, early_stop=True), 0.15),
    "pgd, L2, early stop": Row(partial(pgd, steps=10, norm="l2", early_stop=True), 2.0, "l2"),
    "L-BFGS": Row(lambda model, x, y, *, eps, **how: lbfgs(model, x, y, targeted=False, **how).x_adv, 2.0, "l2", takes_eps=False),
    "saliency": Row(lambda model, x, y, *, eps, **how: saliency(model, x, y, features=12, **how), 12**0.5, "l2", takes_eps=False),
}
EVERY = pytest.mark.parametrize("row", ATTACKS.values(), ids=ATTACKS.keys())


class Net(nn.Module):
    """Convolution, batch norm, dropout: everything that an attack may not disturb."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 8, 5, stride=3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(8 * 8 * 8, 10),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x - 0.5)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[nn.Module, Tensor, Tensor]:
    """A net in float64 that is right on most digits, and 60 digits with their labels."""
    patch = pytest.MonkeyPatch()
    patch.setenv("COURSE_DATA_DIR", str(tmp_path_factory.mktemp("data")))
    runtime.seed(0)
    net, train, test = Net(), load("digits"), load("digits", split="test")
    fit(net, train, epochs=6, lr=3e-3, progress=False)
    patch.undo()
    assert evaluate(net, test).accuracy > 0.9
    some = test.take(60, runtime.generator("which digits"))
    return net.double(), some.images.double(), some.labels


@pytest.fixture()
def case(trained) -> tuple[nn.Module, Tensor, Tensor]:
    """The same, a copy for each test."""
    return copy.deepcopy(trained)


def fooled(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Share of answers that are wrong."""
    with torch.no_grad():
        return (model.eval()(x).argmax(1) != y).double().mean().item()


def noise(x: Tensor, row: Row) -> Tensor:
    """As long a change as the attack's, in no direction: a corner of the max-norm's ball, a point on the sphere."""
    direction = torch.randn(x.shape, generator=runtime.generator("noise"), dtype=x.dtype)
    return (x + row.eps * BALLS[row.norm].step(direction)).clamp(0, 1)


def expect_to_beat_noise(attack: Callable[..., Tensor], row: Row, model: nn.Module, x: Tensor, y: Tensor) -> None:
    """AssertionError unless the attack fools the model far more often than noise of the same norm."""
    assert fooled(model, attack(model, x, y, eps=row.eps), y) >= fooled(model, noise(x, row), y) + 0.4


@EVERY
def test_attack_stays_in_the_ball_and_in_the_box(row, case):
    model, x, y = case
    found = row.attack(model, x, y, eps=row.eps)
    assert found.shape == x.shape and found.dtype == x.dtype and not found.requires_grad
    assert 0 <= found.min() and found.max() <= 1
    assert BALLS[row.norm].size(found - x).max() <= row.eps + 1e-12
    assert BALLS[row.norm].size(found - x).max() >= row.eps / 2  # and it uses it


@EVERY
def test_attack_beats_noise_of_the_same_norm(row, case):
    expect_to_beat_noise(row.attack, row, *case)


def test_an_attack_that_changes_nothing_is_found(case):
    with pytest.raises(AssertionError):
        expect_to_beat_noise(lambda model, x, y, eps: x, ATTACKS["fgsm"], *case)


@EVERY
def test_attack_repeats_whatever_the_global_random_state(row, case):
    model, x, y = case
    torch.manual_seed(1)
    first = row.attack(model, x, y, eps=row.eps)
    torch.manual_seed(2)
    assert torch.equal(row.attack(model, x, y, eps=row.eps), first)


@EVERY
def test_attack_leaves_the_model_and_the_random_state_alone(row, case):
    model, x, y = case
    model.train()
    model.net[1].eval()  # a mixture of modes is a state too
    F.cross_entropy(model(x), y).backward()
    before = copy.deepcopy(model.state_dict()), [p.grad.clone() for p in model.parameters()], x.clone(), y.clone()
    streams = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    row.attack(model, x, y, eps=row.eps)
    assert model.training and not model.net[1].training and model.net[4].training
    for now, then in zip(model.state_dict().values(), before[0].values()):
        assert torch.equal(now, then)
    for parameter, then in zip(model.parameters(), before[1]):
        assert torch.equal(parameter.grad, then) and parameter.requires_grad
    assert torch.equal(x, before[2]) and torch.equal(y, before[3])
    assert torch.equal(torch.get_rng_state(), streams[0]) and (np.random.get_state()[1] == streams[1]).all() and random.getstate() == streams[2]


@EVERY
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode], ids=["no_grad", "inference_mode"])
def test_attack_works_where_gradients_are_switched_off(row, context, case):
    model, x, y = case
    wanted = row.attack(model, x, y, eps=row.eps)
    with context():
        found = row.attack(model, x.clone(), y.clone(), eps=row.eps)
        assert not torch.is_grad_enabled()
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("batch, most", [(50, 50), (256, 128)])
def test_the_model_never_sees_more_examples_at_once_than_the_batch_and_on_a_cpu_128(batch, most):
    sizes = []

    def model(x):
        sizes.append(len(x))
        return x.flatten(1)[:, :10]

    pgd(model, torch.rand(300, 1, 4, 4), torch.arange(300) % 10, eps=0.1, steps=1, batch=batch)
    assert max(sizes) == most and sum(sizes) == 300


class Rows(nn.Module):
    """As in many a tutorial: what a convolution returns is put in rows by ``.view``, or by another way; notes how x lies in memory."""

    def __init__(self, channels: int, rows: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(channels, 4, 3).double(), nn.Linear(4 * 6 * 6, 10).double()
        self.rows, self.strides = rows, []

    def forward(self, x: Tensor) -> Tensor:
        self.strides.append(x.stride())
        return self.last(self.rows(self.first(x).relu()))


@EVERY
@pytest.mark.parametrize("channels", [1, 3])
def test_attack_gives_channels_last_to_a_model_that_takes_them_and_works_on_one_that_does_not(row, channels):
    takes, refuses = Rows(channels, lambda h: h.flatten(1)), Rows(channels, lambda h: h.view(len(h), -1))
    x = torch.rand(9, channels, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = takes(x).argmax(1)
    takes.strides.clear()
    torch.testing.assert_close(row.attack(refuses, x, y, eps=row.eps), row.attack(takes, x, y, eps=row.eps), rtol=0, atol=1e-9)
    last, first = (64 * channels, 1, 8 * channels, channels), (64 * channels, 64, 8, 1)
    assert set(takes.strides) == {last}
    failed = sum(stride == last for stride in refuses.strides)
    assert 1 <= failed <= 2 and set(refuses.strides) == {last, first}  # least_likely asks for its target first


# ---------------------------------------------------------------- models as people write them


@EVERY
def test_attack_works_on_a_model_that_changes_its_input_in_place(row, case):
    model, x, y = case
    before = x.clone()
    found = row.attack(lambda x: model(x.sub_(0.1).add_(0.1)), x, y, eps=row.eps)
    assert torch.equal(x, before)
    torch.testing.assert_close(found, row.attack(model, x, y, eps=row.eps), rtol=0, atol=1e-6)
    rows, flat = x.flatten(1), lambda x: model(x.sub_(0.1).add_(0.1).view(-1, 1, 28, 28))  # no pictures: another way through
    row.attack(flat, rows, y, eps=row.eps)
    assert torch.equal(rows, before.flatten(1))


@EVERY
def test_a_net_inside_a_function_is_in_eval_mode_and_stays_as_it_was(row, case):
    model, x, y = case
    wanted = row.attack(model, x, y, eps=row.eps)
    model.train()
    before = copy.deepcopy(model.state_dict())
    torch.testing.assert_close(row.attack(lambda x: model(x), x, y, eps=row.eps), wanted)
    assert all(part.training for part in model.modules())
    assert all(torch.equal(now, then) for now, then in zip(model.state_dict().values(), before.values()))


class BackwardByView(torch.autograd.Function):
    """A step whose gradient is written by hand and takes the channels to be first."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient.view(len(gradient), -1).view(gradient.shape)


class Asks(nn.Module):
    """Takes pictures with the channels first alone, and says so in words of its own."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        assert x.is_contiguous(), "channels first, please"
        return self.model(x)


@pytest.mark.parametrize("wrapped", [lambda net: nn.Sequential(net.first, Step(), nn.ReLU(), nn.Flatten(), net.last), Asks], ids=["backward", "assert"])
def test_other_ways_to_refuse_channels_last(wrapped):
    net = Rows(3, lambda h: h.flatten(1))
    x = torch.rand(9, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = net(x).argmax(1)
    torch.testing.assert_close(pgd(wrapped(net), x, y, eps=0.1), pgd(net, x, y, eps=0.1), rtol=0, atol=1e-9)


class Step(nn.Module):
    """``BackwardByView`` as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        return BackwardByView.apply(x)


@EVERY
def test_a_gradient_of_nan_is_refused(row, case):
    model, x, y = case

    def bright(x):  # no NaN in the answers; where x is 0 the branch not taken has a slope of infinity, times 0
        return model(torch.where(x > 0.1, (x**2).sqrt() + 0 * x.sqrt(), x))

    x = x * (x > 0.3)
    with pytest.raises(ValueError, match="model: expected gradients without NaN"):
        row.attack(bright, x, y, eps=row.eps)


@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_half_precision_neither_vanishes_nor_overflows(scale):
    torch.manual_seed(0)
    layer = nn.Linear(48, 10).half()
    x = torch.rand(64, 3, 4, 4).half()
    model = lambda x: layer(x.flatten(1)) * scale  # noqa: E731
    found = fgsm(model, x, model(x).argmin(1), eps=0.03, targeted=True)
    assert ((found - x).flatten(1) != 0).any(1).all()


def test_many_finite_logits_in_half_precision_are_finite():
    layer = nn.Linear(48, 1000).half()
    x = torch.rand(128, 3, 4, 4).half()
    fgsm(lambda x: layer(x.flatten(1)).abs() + 1, x, torch.zeros(128, dtype=torch.int64), eps=0.03)


def test_an_exported_and_a_frozen_model_have_no_mode_and_can_be_attacked():
    net, x = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)).eval(), torch.rand(5, 1, 8, 8)
    y = net(x).argmax(1)
    for model in (torch.jit.freeze(torch.jit.script(net)), torch.jit.trace(net, x), torch.export.export(net, (x,)).module()):
        torch.testing.assert_close(fgsm(model, x, y, eps=0.1), fgsm(net, x, y, eps=0.1))


def test_what_a_module_does_when_it_changes_mode_is_undone():
    class Merging(nn.Linear):
        merged = False

        def train(self, mode=True):
            self.merged = not mode
            return super().train(mode)

    model = nn.Sequential(nn.Flatten(), Merging(16, 3)).train()
    fgsm(model, torch.rand(4, 1, 4, 4), torch.zeros(4, dtype=torch.int64), eps=0.1)
    assert not model[1].merged and model[1].training


def test_cudnn_is_left_as_its_user_set_it():
    seen, flags = [], torch.backends.cudnn

    def model(x):
        seen.append((flags.enabled, flags.benchmark, flags.deterministic))
        return x.flatten(1)

    with torch.backends.cudnn.flags(enabled=True, benchmark=True, deterministic=True):
        fgsm(model, torch.rand(4, 1, 4, 4), torch.zeros(4, dtype=torch.int64), eps=0.1)
    assert seen == [(True, True, True)]


def test_pictures_in_any_order_of_memory(case):
    model, x, y = case
    turned = x.float().permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    for row in ATTACKS.values():
        torch.testing.assert_close(row.attack(model.float(), turned, y, eps=row.eps), row.attack(model.float(), x.float(), y, eps=row.eps), rtol=0, atol=1e-5)
    colours = torch.rand(4, 8, 8, 3).permute(0, 3, 1, 2)
    saliency(lambda x: x.flatten(1)[:, ::20] * 10, colours, torch.zeros(4, dtype=torch.int64), features=3)


@pytest.mark.parametrize("eps", [np.float32(0.1), torch.tensor(0.1, requires_grad=True), torch.full((60,), 0.1, dtype=torch.float16)])
def test_epsilon_in_whatever_form(eps, case):
    assert BALLS["linf"].size(fgsm(*case, eps=eps) - case[1]).max() == pytest.approx(0.1, abs=1e-4)


def test_least_likely_is_called_like_the_others(case):
    model, x, y = case
    assert torch.equal(least_likely(model, x, y, eps=0.1), least_likely(model, x, eps=0.1))


def test_what_a_model_raises_comes_through():
    def model(x):
        raise RuntimeError("my own")

    with pytest.raises(RuntimeError, match="my own"):
        pgd(model, torch.rand(2, 1, 4, 4), torch.zeros(2, dtype=torch.int64), eps=0.1)


@EVERY
def test_attack_does_not_depend_on_the_batch(row, case):
    model, x, y = case
    torch.testing.assert_close(row.attack(model, x, y, eps=row.eps, batch=7), row.attack(model, x, y, eps=row.eps), rtol=0, atol=1e-9)


@EVERY
def test_attack_takes_an_epsilon_for_each_example(row, case):
    model, x, y = case
    if not row.takes_eps:
        pytest.skip("this attack has no eps")
    eps = torch.linspace(0, row.eps, len(x), dtype=x.dtype)
    found = row.attack(model, x, y, eps=eps)
    assert (BALLS[row.norm].size(found - x) <= eps + 1e-12).all()
    assert torch.equal(found[0], x[0]) and not torch.equal(found[-1], x[-1])
    torch.testing.assert_close(row.attack(model, x, y, eps=torch.full_like(eps, row.eps)), row.attack(model, x, y, eps=row.eps))


@EVERY
def test_attack_keeps_the_dtype_and_the_order_in_memory(row, case):
    model, x, y = case
    found = row.attack(model.float(), x.float(), y, eps=row.eps)
    assert found.dtype == torch.float32 and found.is_contiguous()


@EVERY
def test_attack_works_under_autocast(row, case):
    model, x, y = case
    with torch.autocast("cpu", torch.bfloat16):
        found = row.attack(model.float(), x.float(), y, eps=row.eps)
    assert found.dtype == torch.float32
    expect_to_beat_noise(lambda *_, eps: found.double(), row, model.double(), x, y)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")
@EVERY
def test_attack_works_under_autocast_on_cuda(row, case):
    model, x, y = (part.to("cuda") for part in case)
    with torch.autocast("cuda", torch.float16):
        found = row.attack(model.float(), x.float(), y, eps=row.eps)
    expect_to_beat_noise(lambda *_, eps: found.cpu().double(), row, model.cpu().double(), x.cpu(), y.cpu())


BAD = {
    "outside the box": (dict(x=lambda x: 2 * x), "x: expected values in [0, 1]"),
    "NaN": (dict(x=lambda x: x * math.nan), "x: expected no NaN"),
    "whole numbers": (dict(x=lambda x: (255 * x).to(torch.uint8)), "x: expected a floating point dtype"),
    "no examples": (dict(x=lambda x: x[:0], y=lambda y: y[:0]), "x: expected at least one"),
    "a label of -1": (dict(y=lambda y: y - y.max() - 1), "y: expected class numbers of at least 0"),
    "a label too large": (dict(y=lambda y: y + 10), "y: expected class numbers below 10"),
    "one-hot labels": (dict(y=lambda y: F.one_hot(y, 10)), "y: expected the shape (60,)"),
    "labels (N, 1)": (dict(y=lambda y: y[:, None]), "y: expected the shape (60,)"),
    "float labels": (dict(y=lambda y: y.double()), "y: expected dtype torch.int64"),
    "too few labels": (dict(y=lambda y: y[1:]), "y: expected the shape (60,)"),
    "negative epsilon": (dict(eps=lambda eps: -eps), "eps: expected 0 to"),
    "epsilon too large": (dict(eps=lambda eps: 1000 * eps), "eps: expected 0 to"),
    "NaN as epsilon": (dict(eps=lambda eps: math.nan), "eps: expected 0 to"),
    "epsilon of another length": (dict(eps=lambda eps: torch.full((3,), eps)), "eps: expected a number, or one for each"),
    "a model without logits": (dict(model=lambda model: lambda x: model(x)[:, 0]), "model: expected logits of the shape"),
    "a model without gradient": (dict(model=lambda model: lambda x: model(x).detach()), "model: expected torch operations"),
    "a model of NaN": (dict(model=lambda model: lambda x: model(x) * math.nan), "model: expected finite logits"),
    "no model": (dict(model=lambda model: None), "model: expected a function"),
    "no batch": (dict(batch=lambda batch: 0), "batch: expected a whole number"),
}


@EVERY
@pytest.mark.parametrize("change, message", BAD.values(), ids=BAD.keys())
def test_bad_input_is_named(row, change, message, case):
    arguments = dict(zip(("model", "x", "y"), case), eps=row.eps, batch=256)
    if set(change) == {"y"} and not row.needs_labels or "eps" in change and not row.takes_eps:
        pytest.skip("this attack does not use it")
    for name, spoil in change.items():
        arguments[name] = spoil(arguments[name])
    with pytest.raises(ValueError) as error:
        row.attack(**arguments)
    assert str(error.value).startswith(message), str(error.value)


@EVERY
def test_probabilities_are_warned_of(row, case):
    model, x, y = case
    with pytest.warns(AttackWarning, match="look like probabilities"):
        row.attack(lambda x: model(x).softmax(1), x, y, eps=row.eps)


@EVERY
def test_logits_are_not_warned_of(row, case):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        row.attack(*case, eps=row.eps)


# ---------------------------------------------------------------- each method against its closed form


@pytest.fixture()
def linear() -> tuple[nn.Module, Tensor, Tensor]:
    """A linear model of three classes, and twenty points far from the edges of the box."""
    torch.manual_seed(0)
    model = nn.Linear(6, 3).double()
    return model, 0.4 + 0.2 * torch.rand(20, 6, dtype=torch.float64), torch.randint(3, (20,))


def loss_gradient(model: nn.Linear, x: Tensor, y: Tensor) -> Tensor:
    """Of the cross entropy of a linear model: (softmax - one-hot) W."""
    return (model(x).softmax(1) - F.one_hot(y, 3)).detach() @ model.weight.detach()


@pytest.mark.parametrize("targeted, sign", [(False, 1), (True, -1)])
def test_fgsm_is_one_step_along_the_sign_or_the_direction(linear, targeted, sign):
    model, x, y = linear
    gradient = loss_gradient(*linear)
    torch.testing.assert_close(fgsm(model, x, y, eps=0.1, targeted=targeted), x + sign * 0.1 * gradient.sign())
    direction = gradient / gradient.norm(dim=1, keepdim=True)
    torch.testing.assert_close(fgsm(model, x, y, eps=0.1, norm="l2", targeted=targeted), x + sign * 0.1 * direction)


@pytest.mark.parametrize("attack", [fgsm, iterated, partial(pgd, steps=3)])
def test_pixels_without_gradient_stay_and_clipping_ends_at_the_box(linear, attack):
    model, x, y = linear
    with torch.no_grad():
        model.weight[:, 2] = 0
    if attack is not fgsm and "random_start" not in getattr(attack, "keywords", {}):
        attack = partial(attack, random_start=False) if attack is not iterated else attack
    found = attack(model, x, y, eps=0.1)
    assert torch.equal(found[:, 2], x[:, 2]) and not torch.equal(found[:, 1], x[:, 1])
    edge = torch.zeros_like(x)
    assert attack(model, edge, y, eps=0.1).min() == 0


def test_a_gradient_too_small_to_square_still_has_a_direction():
    tiny = torch.full((1, 4), 1e-30)
    torch.testing.assert_close(BALLS["l2"].step(tiny), torch.full((1, 4), 0.5))
    assert torch.equal(BALLS["l2"].step(torch.zeros(1, 4)), torch.zeros(1, 4))


def test_every_step_of_iterated_counts(linear):
    model, x, y = linear
    two = x.clone()
    for _ in range(2):
        two = x + (two + 0.03 * loss_gradient(model, two, y).sign() - x).clamp(-0.05, 0.05)
    torch.testing.assert_close(iterated(model, x, y, eps=0.05, steps=2, step_size=0.03), two)
    size = lambda steps: BALLS["linf"].size(iterated(model, x, y, eps=0.2, steps=steps, step_size=0.01) - x)  # noqa: E731
    torch.testing.assert_close(size(7), torch.full((20,), 0.07, dtype=torch.float64))
    torch.testing.assert_close(BALLS["linf"].size(iterated(model, x, y, eps=0.1) - x), torch.full((20,), 0.1, dtype=torch.float64))  # 1.25 eps


@pytest.mark.parametrize("norm", BALLS)
def test_pgd_begins_at_a_random_point_of_the_ball(linear, norm):
    model, x, y = linear
    start = lambda **how: pgd(model, x, y, eps=0.2, norm=norm, steps=1, step_size=0.0, **how)  # noqa: E731
    size = BALLS[norm].size(start() - x)
    assert (size > 0).all() and (size <= 0.2 + 1e-12).all() and size.std() > 0
    assert torch.equal(start(random_start=False), x)
    assert torch.equal(start(generator=runtime.generator("a")), start(generator=runtime.generator("a")))
    assert not torch.equal(start(generator=runtime.generator("a")), start(generator=runtime.generator("b")))
    parts = runtime.generator("a")
    halves = [pgd(model, x[rows], y[rows], eps=0.2, norm=norm, steps=1, step_size=0.0, generator=parts) for rows in (slice(0, 9), slice(9, 20))]
    assert torch.equal(torch.cat(halves), start(generator=runtime.generator("a")))


@pytest.mark.parametrize("norm, moments", [("linf", (0.5, 1 / 3)), ("l2", (6 / 7, 6 / 8))])
def test_random_points_fill_the_ball_evenly(norm, moments):
    points = BALLS[norm].start((20_000, 6), torch.Generator().manual_seed(0))
    length = points.abs().flatten() if norm == "linf" else points.norm(dim=1)
    assert length.mean().item() == pytest.approx(moments[0], abs=0.01) and length.square().mean().item() == pytest.approx(moments[1], abs=0.01)
    assert points.mean(0).abs().max() < 0.02


def test_more_steps_and_more_restarts_raise_the_loss(case):
    model, x, y = case
    model.eval()
    height = lambda **how: F.cross_entropy(model(pgd(model, x, y, eps=0.1, **how)), y).item()  # noqa: E731
    assert height(steps=1, step_size=0.02) < height(steps=5, step_size=0.02) < height(steps=20, step_size=0.02)
    one, many = (F.cross_entropy(model(pgd(model, x, y, eps=0.1, steps=2, restarts=n)), y, reduction="none") for n in (1, 5))
    was_wrong = fooled(model, pgd(model, x, y, eps=0.1, steps=2), y)
    assert many.mean() > one.mean() and fooled(model, pgd(model, x, y, eps=0.1, steps=2, restarts=5), y) >= was_wrong


def test_early_stop_has_the_same_success_with_less_change(case):
    model, x, y = case
    whole, early = (pgd(model, x, y, eps=0.15, steps=20, random_start=False, early_stop=stop) for stop in (False, True))
    assert fooled(model, early, y) >= fooled(model, whole, y)
    was_wrong = model(x).argmax(1) != y
    assert torch.equal(early[was_wrong], x[was_wrong])
    assert (early - x).abs().sum() < (whole - x).abs().sum()


def test_targets_are_reached_and_the_least_likely_class_is_one(case):
    model, x, y = case
    model.eval()
    target = (y + 1) % 10
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a few are taken for the target as they are
        for attack in (fgsm, iterated, pgd):
            gain = model(attack(model, x, target, eps=0.1, targeted=True)).log_softmax(1) - model(x).log_softmax(1)
            assert gain.gather(1, target[:, None]).mean() > 1
        assert (model(pgd(model, x, target, eps=0.4, targeted=True)).argmax(1) == target).double().mean() > 0.9
    farthest = model(x).argmin(1)
    torch.testing.assert_close(least_likely(model, x, eps=0.1), iterated(model, x, farthest, eps=0.1, targeted=True))


def test_a_target_that_is_answered_already_is_warned_of(case):
    model, x, y = case
    answers = model.eval()(x).argmax(1)
    for attack in (fgsm, iterated, pgd):
        with pytest.warns(AttackWarning, match="60 of 60 targets"):
            attack(model, x, answers, eps=0.1, targeted=True)


def test_a_loss_of_the_reader_is_what_the_steps_raise(linear):
    model, x, y = linear
    for attack in (fgsm, partial(pgd, random_start=False, steps=1, step_size=0.1), partial(iterated, steps=1, step_size=0.1)):
        found = attack(model, x, y, eps=0.1, loss=lambda logits, y: logits[:, 2])
        torch.testing.assert_close(found, (x + 0.1 * model.weight[2].detach().sign()))
    with pytest.raises(ValueError, match="loss: expected one number for each example"):
        fgsm(model, x, y, eps=0.1, loss=lambda logits, y: logits.sum())


@pytest.mark.parametrize("how, message", [
    (dict(steps=0), "steps"), (dict(restarts=0), "restarts"), (dict(restarts=2, random_start=False), "restarts"),
    (dict(step_size=-1.0), "step_size"), (dict(generator=3), "generator"), (dict(norm="l1"), "norm: expected one of linf, l2"),
])
def test_settings_of_pgd_are_looked_at(linear, how, message):
    with pytest.raises(ValueError, match=message):
        pgd(*linear, eps=0.1, **how)


def test_a_random_model_repeats_from_the_generator(linear):
    model, x, y = linear
    noisy = lambda x: model(x + 0.3 * torch.randn_like(x))  # noqa: E731
    found = [pgd(noisy, x, y, eps=0.1, steps=3, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


def test_evaluate_counts_what_is_left(trained):
    model, test = trained[0], load("digits", split="test").take(100)
    model = copy.deepcopy(model).float()
    whole, early = (evaluate(model, test, attack=partial(pgd, eps=0.1, steps=10, early_stop=stop)) for stop in (False, True))
    assert evaluate(model, test).accuracy - whole.accuracy > 0.3 and abs(whole.accuracy - early.accuracy) <= 0.03


# ---------------------------------------------------------------- what people hand over


@EVERY
@pytest.mark.parametrize("made", [lambda x: x.clone().requires_grad_(), lambda x: x * torch.ones(1, dtype=x.dtype, requires_grad=True)], ids=["leaf", "generator"])
def test_pictures_with_a_gradient_or_a_graph_are_attacked_like_any_others(row, made, case):
    model, x, y = (part[:9] if isinstance(part, Tensor) else part for part in case)
    given = made(x)
    found = row.attack(model, given, y, eps=row.eps)
    assert torch.equal(found, row.attack(model, x, y, eps=row.eps)) and not found.requires_grad
    assert given.requires_grad and given.grad is None


def test_evaluate_attacks_pictures_that_a_generator_made(case):
    model, x, y = case
    data = load("digits", split="test").take(20)
    scale = torch.ones(1, requires_grad=True)
    made = replace(data, images=data.images * scale)
    attack = partial(pgd, eps=0.1, steps=2)
    assert evaluate(model.float(), made, attack) == evaluate(model.float(), data, attack)


def test_a_head_of_sigmoids_is_doubted_once_and_log_probabilities_never(case):
    model, x, y = case
    for attack in (fgsm, partial(pgd, steps=3, restarts=2, batch=20)):
        with pytest.warns(AttackWarning, match="look like probabilities") as told:
            attack(lambda x: model(x).sigmoid(), x, y, eps=0.1)
        assert len(told) == 1
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            attack(lambda x: model(x).log_softmax(1), x, y, eps=0.1)


def test_the_same_warning_of_a_second_line_is_shown_too(case):
    model, x, y = case
    answers = lambda x: model(x).softmax(1)  # noqa: E731
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        fgsm(answers, x, y, eps=0.1)
        fgsm(answers, x, y, eps=0.1)
    assert len(told) == 2 and {one.filename for one in told} == {__file__}


@pytest.mark.parametrize("attack", [iterated, pgd, lambda model, x, y, **how: least_likely(model, x, **how)], ids=["iterated", "pgd", "least likely"])
@pytest.mark.parametrize("norm, eps", [("linf", 0.9), ("l2", 2.4)])
def test_a_step_that_nobody_gave_is_never_complained_of(attack, norm, eps, linear):
    model, x, y = linear
    found = attack(model, x, y, eps=eps, norm=norm, steps=1)
    assert BALLS[norm].size(found - x).max() <= eps + 1e-12 and not torch.equal(found, x)
    with pytest.raises(ValueError, match="^step_size: expected 0 to"):
        attack(model, x, y, eps=eps, norm=norm, steps=1, step_size=3.0)


class Output:
    """As a model of Hugging Face's answers."""

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits


@EVERY
def test_an_output_object_is_refused_with_the_way_to_its_logits(row, case):
    model, x, y = case
    with pytest.raises(ValueError, match=r"model: expected a torch.Tensor of logits, as of lambda x: model\(x\).logits, got Output"):
        row.attack(lambda x: Output(model(x)), x, y, eps=row.eps)
    with pytest.raises(ValueError, match="model: expected a torch.Tensor of logits, got tuple"):
        row.attack(lambda x: (model(x),), x, y, eps=row.eps)


class Elsewhere(torch.Generator):
    """A generator that says it is on a GPU, where none is needed to see what becomes of it."""

    device = torch.device("cuda")


@pytest.mark.parametrize("taken", [
    lambda stream: pgd(nn.Flatten(), torch.rand(2, 1, 2, 2), torch.zeros(2, dtype=torch.int64), eps=0.1, generator=stream),
    lambda stream: doubts(nn.Flatten(), torch.rand(2, 1, 2, 2), torch.zeros(2, dtype=torch.int64), eps=0.1, generator=stream),
    lambda stream: expectation(nn.Flatten(), Camera(), generator=stream),
    lambda stream: destruction_rate(nn.Flatten(), torch.rand(2, 1, 2, 2), torch.rand(2, 1, 2, 2), torch.zeros(2, dtype=torch.int64), Camera(), generator=stream),
    lambda stream: Camera()(torch.rand(2, 1, 8, 8), stream),
    lambda stream: Noise(0.1)(torch.rand(2, 1, 8, 8), stream),
    lambda stream: Glimpses(4)(torch.rand(2, 1, 8, 8), stream),
], ids=["pgd", "doubts", "expectation", "destruction_rate", "Camera", "Noise", "Glimpses"])
def test_a_generator_on_a_gpu_is_named(taken):
    with pytest.raises(ValueError, match="generator: expected None or a torch.Generator on the CPU, got one on cuda"):
        taken(Elsewhere())


class Recurrent(nn.Module):
    """A convolution before an LSTM, both of which note whether cuDNN is on."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, bool] = {}
        self.first, self.second = nn.Conv2d(1, 2, 3), nn.LSTM(12, 3, batch_first=True)
        for name in ("first", "second"):
            getattr(self, name).register_forward_hook(lambda *_, name=name: self.seen.update({name: torch.backends.cudnn.enabled}))

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).flatten(2))[0][:, -1]


@pytest.mark.parametrize("given", [lambda net: net, lambda net: lambda x: net(x)], ids=["module", "function"])
@pytest.mark.parametrize("taken", [
    lambda model, x: fgsm(model, x, torch.zeros(len(x), dtype=torch.int64), eps=0.1), lambda model, x: Hedged(model, 0.1).eval()(x)], ids=["fgsm", "Hedged"])
def test_only_recurrent_layers_do_without_cudnn(given, taken):
    net, x = Recurrent().eval(), torch.rand(3, 1, 5, 6)
    notes = []
    net.second.register_forward_hook(lambda *_: notes.append(dict(net.seen)))
    with torch.backends.cudnn.flags(enabled=True):
        taken(given(net), x)
        assert torch.backends.cudnn.enabled
    assert notes[0] == {"first": True, "second": False}


@EVERY
def test_attack_works_whatever_torchs_default_device_is(row, case):
    model, x, y = (part[:5] if isinstance(part, Tensor) else part for part in case)
    wanted = row.attack(model, x, y, eps=row.eps)
    torch.set_default_device("meta")
    try:
        found = row.attack(model, x, y, eps=row.eps)
    finally:
        torch.set_default_device(None)
    assert torch.equal(found, wanted)
