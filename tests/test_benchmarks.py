"""The benchmarks compare like with like: both ways of every comparison do the same mathematics."""
from __future__ import annotations

import json
from functools import partial

import pytest
import torch
from torch import nn

from benchmarks import gan_step, report, stack, timing, tricks
from benchmarks.same import expect_same, largest_difference
from course_utils import data, gan
from course_utils.training.optimizers import adam

DOUBLE = torch.float64


@pytest.fixture(scope="module")
def digits() -> data.ImageSet:
    return data.load("digits")


# ---- the picture GAN ---------------------------------------------------------------------------------


def test_both_ways_train_on_the_same_pictures(digits):
    items = gan_step.Pictures(digits)
    assert len(items) == len(digits)
    for i in (0, 7, len(digits) - 1):
        picture, label = items[i]
        torch.testing.assert_close(picture, 2 * digits.images[i] - 1, rtol=0, atol=1e-6)
        assert label == digits.labels[i]
    for source in (gan_step.loaded(digits), gan_step.by_index(digits)):
        x = next(source)
        assert x.shape == (64, 1, 28, 28) and x.min() == -1 and x.max() == 1
    assert 0 <= digits.images.min() and digits.images.max() <= 1  # the scaling left the set alone


@pytest.mark.parametrize("reuse", [False, True])
def test_both_ways_end_with_the_same_weights(digits, reuse):
    expect_same(gan_step.difference(digits, reuse, 3, DOUBLE), DOUBLE, "step")
    expect_same(gan_step.difference(digits, reuse, 3, torch.float32), torch.float32, "step")


def other_fakes(p, x, noise, reuse):
    gan.gan_step(p.G, p.D, p.opt_g, p.opt_d, lambda: x, noise, reuse=not reuse)


def other_loss(p, x, noise, reuse):
    gan.gan_step(p.G, p.D, p.opt_g, p.opt_d, lambda: x, noise, reuse=reuse, loss=gan.MINIMAX)


def other_order(p, x, noise, reuse):
    gan.generator_step(p.G, p.D, p.opt_g, noise(), gan.NON_SATURATING)
    gan.critic_step(p.G, p.D, p.opt_d, x, noise(), gan.NON_SATURATING)


@pytest.mark.parametrize("wrong", [other_fakes, other_loss, other_order])
def test_other_mathematics_is_noticed(digits, wrong):
    apart = gan_step.difference(digits, False, 2, DOUBLE, wrong)
    with pytest.raises(ArithmeticError, match="not the same mathematics"):
        expect_same(apart, DOUBLE, "step")


@pytest.mark.parametrize("how, end, optimizer", [
    ({}, nn.Sigmoid(), torch.optim.Adam),
    ({}, nn.Sigmoid(), adam),
    ({"no_graph": True}, nn.Sigmoid(), torch.optim.Adam),
    ({"freeze": True}, nn.Sigmoid(), torch.optim.Adam),
    ({"logits": True}, nn.Identity(), torch.optim.Adam),
    ({"together": True}, nn.Sigmoid(), torch.optim.Adam),
])
def test_each_change_alone_is_the_same_mathematics(how, end, optimizer):
    torch.manual_seed(0)
    batches, zs = torch.randn(2, 64, 1, 28, 28, dtype=DOUBLE).unbind(), torch.randn(4, 64, 100, dtype=DOUBLE).unbind()
    plain = gan_step.trained(gan_step.plain_step, gan_step.plain_players(DOUBLE), batches, zs, False)
    changed = gan_step.trained(partial(tricks.changed_step, **how), gan_step.players(end, optimizer, DOUBLE), batches, zs, False)
    expect_same(largest_difference(changed, plain), DOUBLE, str(how))


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
