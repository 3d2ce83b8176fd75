"""A checkpoint belongs to a loss as it was written: its code, what it names, and the values of that."""
from __future__ import annotations

import functools
import os
import subprocess
import sys
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from training_runs import blobs, net

from course_utils.training import code, fit, loop
from course_utils.training.settings import describe, differences

SETTINGS, WEIGHT, LABELS = SimpleNamespace(rate=0.1, other=1), 0.1, torch.arange(3)


@pytest.fixture(autouse=True)
def apart(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("COURSE_STATIC", "1")
    monkeypatch.setenv("COURSE_DEVICE", "cpu")


def written(text: str, **names: object):
    """``loss`` of a notebook cell with this ``text``."""
    cell = dict(F=F, torch=torch, functools=functools, __name__="__main__", **names)
    exec(compile(text, "<cell>", "exec"), cell)
    return cell["loss"]


def changed(before: object, after: object) -> str:
    return differences(*(describe(1, dict(loss=loss), dict(net=nn.Linear(1, 1))) for loss in (before, after)))


PLAIN = "def loss(model, x, y):\n    return F.cross_entropy(model(x), y)"
HELPED = "def pushed(x):\n    return {}\ndef loss(model, x, y):\n    return F.cross_entropy(model(pushed(x)), y)"
PARTIAL = """
def weighted(model, x, y, w):
    return {} * F.cross_entropy(model(x), y)
loss = functools.partial(weighted, w={})"""
NESTED = """
def loss(model, x, y):
    def inner(z):
        return {} * z
    return inner(F.cross_entropy(model(x), y))"""
METHOD = """
class Loss:
    def __init__(self, w):
        self.w = w
    def scaled(self, z):
        return {} * z
    def __call__(self, model, x, y):
        return self.scaled(F.cross_entropy(model(x), y))
loss = Loss({})"""


@pytest.mark.parametrize(("before", "after", "named"), [
    (PLAIN, PLAIN.replace("return ", "return -"), "config.loss: its code changed"),
    (PLAIN, PLAIN.replace("cross_entropy", "nll_loss"), "config.loss: its code changed"),
    (HELPED.format("x"), HELPED.format("2 * x"), "config.loss.pushed: its code changed"),
    (PARTIAL.format("w", 1), PARTIAL.format("w", 2), "config.loss.w: saved 1, now 2"),
    (PARTIAL.format("w", 1), PARTIAL.format("-w", 1), "config.loss: its code changed"),
    (NESTED.format(1), NESTED.format(3), "config.loss: its code changed"),
    (METHOD.format(1, 1), METHOD.format(2, 1), "config.loss.Loss.scaled: its code changed"),
    (METHOD.format(1, 1), METHOD.format(1, 2), "config.loss.w: saved 1, now 2"),
])
def test_an_edit_is_named(before, after, named):
    assert changed(written(before), written(before)) == ""
    assert named in changed(written(before), written(after))


@pytest.mark.parametrize(("reads", "before", "after", "named"), [
    ("A", dict(A=0.1), dict(A=0.2), "A: saved 0.1, now 0.2"),
    ("A[0]", dict(A=[1, 2]), dict(A=[1, 3]), "A: saved [1, 2], now [1, 3]"),
    ("A['k'][0]", dict(A=dict(k=[1])), dict(A=dict(k=[2])), "A.k: saved [1], now [2]"),
    ("A.sum()", dict(A=torch.tensor([1.0])), dict(A=torch.tensor([2.0])), "A: saved (1,) torch.float32"),
    ("A", dict(A=np.float64(1)), dict(A=np.float64(2)), "A: saved 1.0, now 2.0"),
    ("A.sum()", dict(A=np.ones(2)), dict(A=np.zeros(2)), "A: saved (2,) torch.float64"),
    ("S.rate", dict(S=SimpleNamespace(rate=1)), dict(S=SimpleNamespace(rate=2)), "S.rate: saved 1, now 2"),
    ("A(x)", dict(A=F.relu), dict(A=F.tanh), "A: saved torch.nn.functional.relu, now torch.nn.functional.tanh"),
    ("A(x)", dict(A=nn.Linear(4, 4)), dict(A=nn.Linear(4, 5)), "A.weight: saved (4, 4), now (5, 4)"),
    ("A(x)", dict(A=functools.partial(F.softmax, dim=0)), dict(A=functools.partial(F.softmax, dim=1)), "A.dim: saved 0"),
    ("len([a for a in A])", dict(A=(1,)), dict(A=(2,)), "A: saved (1,), now (2,)"),
])
def test_what_a_loss_names_counts(reads, before, after, named):
    text = f"def loss(model, x, y):\n    return {reads}"
    assert changed(written(text, **before), written(text, **before)) == ""
    assert f"config.loss.{named}" in changed(written(text, **before), written(text, **after))


def test_closures_and_defaults_count():
    def made(weight, factor):
        def loss(model, x, y, sign=factor):
            return sign * weight * F.cross_entropy(model(x), y)

        return loss

    assert changed(made(1, 1), made(1, 1)) == ""
    assert "config.loss.0: saved 1, now 2" in changed(functools.partial(F.relu, 1), functools.partial(F.relu, 2))
    assert "config.loss.weight: saved 1, now 2" in changed(made(1, 1), made(2, 1))
    assert "config.loss.sign: saved 1, now 2" in changed(made(1, 1), made(1, 2))


@pytest.mark.parametrize(("text", "before", "after"), [
    ("def loss(model, x, y):\n    return S.rate", dict(S=SimpleNamespace(rate=1, o=2)), dict(S=SimpleNamespace(rate=1, o=3))),
    ("def loss(model, x, y):\n    return x.A", dict(A=1), dict(A=2)),
    ("def loss(model, x, y):\n    A.append(1)\n    return len(A)", dict(A=[]), dict(A=[1])),
    ("def loss(model, x, y):\n    global A\n    A += 1\n    return A", dict(A=1), dict(A=2)),
    ("def loss(model, x, y):\n    A.mul_(2)\n    return A", dict(A=torch.ones(1)), dict(A=torch.zeros(1))),
    ("def loss(model, x, y):\n    return A(x)", dict(A=nn.Linear(1, 1)), dict(A=nn.Linear(1, 1))),
    ("def loss(model, x, y):\n    return A", dict(A=torch.Generator()), dict(A=torch.Generator().manual_seed(3))),
])
def test_weights_states_and_what_is_not_named_do_not_count(text, before, after):
    assert changed(written(text, **before), written(text, **after)) == ""


def test_place_comments_and_docstring_do_not_count():
    moved = "\n\n# said\ndef loss(model, x, y):\n    '''Why.'''\n\n    return F.cross_entropy(model(x), y)  # so"
    assert changed(written(PLAIN), written(moved)) == ""


@pytest.mark.parametrize("part", [object.__repr__, dict.keys, [].append, len, {}.__len__, torch.add, torch.Tensor.add, torch.nn.functional.relu])
def test_what_is_written_in_c_has_a_text(part):
    assert all(describe(1, dict(loss=lambda model, x, y: part), {}).values())


def test_recursion_ends():
    a, b = "def a(x):\n    return loss(0, b(x), 0)\n", "def b(x):\n    return a(x) + len(RING)\n"
    rings, ring = f"{a}{b}def loss(model, x, y):\n    return a(x)", [1]
    ring.append(ring)
    assert changed(written(rings, RING=ring), written(rings, RING=ring)) == ""
    other = written(rings.replace("a(x) +", "a(x) -"), RING=ring)
    assert "b: its code changed" in changed(written(rings, RING=ring), other)


def test_a_counter_of_an_object_is_a_state():
    class Counts:
        def __init__(self, w):
            self.calls, self.w = 0, w

        def __call__(self, model, x, y):
            self.calls += 1
            return self.w

    used = Counts(1)
    used(0, 0, 0)
    assert changed(Counts(1), used) == "" and "w: saved 1, now 2" in changed(Counts(1), Counts(2))


def test_data_within_a_loss_count():
    @dataclass
    class FewLabels:
        labelled: object

        def __call__(self, model, x, y):
            return F.cross_entropy(model(self.labelled.images), self.labelled.labels)

    assert changed(FewLabels(blobs()), FewLabels(blobs())) == ""
    assert "config.loss.labelled.images: saved (96, 1, 4, 4)" in changed(FewLabels(blobs()), FewLabels(blobs(seed=1)))


def test_the_text_is_the_same_in_another_process():
    script = ("import sys, torch; sys.path.insert(0, sys.argv[1])\nimport test_training_code as t\n"
              "from course_utils.training.settings import describe\n"
              "def loss(m, x, y): return m in {'a', 'b', 'c', 'd'} or t.WEIGHT * t.LABELS + t.SETTINGS.rate\n"
              "print(sorted(describe(1, dict(loss=loss, other=t.changed), dict(net=t.net())).items()))")
    texts = []
    for seed in "12":
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", script, os.path.dirname(__file__)]
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        texts.append(done.stdout)
    assert texts[0] == texts[1] and "loss.t.SETTINGS.rate" in texts[0] and "loss.t.WEIGHT" in texts[0]


# --- interrupted, edited, and run again -------------------------------------------------------------------


STOPS = "def loss(model, x, y):\n    LEFT.pop()\n    return WEIGHT * F.cross_entropy(model(x), y)"


def steps(text: str, left: int = 100, name: str | None = None, weight: float = 1.0) -> int:
    """In how many steps the loss of a cell was asked, until its ``left`` entries were used up or training at its end."""
    entries = [0] * left
    loss = written(text, LEFT=entries, WEIGHT=weight)
    try:
        fit(net(), blobs(), loss=loss, epochs=2, batch=16, checkpoint_steps=3, name=name)
    except IndexError:
        pass
    return left - len(entries)


@pytest.mark.parametrize("change", [dict(text=STOPS.replace("WEIGHT", "-WEIGHT")), dict(weight=0.5)])
def test_fit_begins_anew_after_the_loss_was_edited(change):
    assert steps(STOPS, 8) == 8
    assert steps(**dict(text=STOPS) | change) == 12  # before: it went on at step 6
    assert steps(STOPS) == 6  # the one before is still there
    assert steps(STOPS, 8, name="mine") == 8
    with pytest.raises(ValueError, match="another configuration .config.loss"):
        steps(**dict(text=STOPS, name="mine") | change)
    assert steps(STOPS, name="mine") == 6


def test_an_edited_optimizer_counts():
    def train(lr, stop):
        calls = []

        def optimizer(parameters):
            calls.append(1)
            return torch.optim.SGD([dict(params=list(parameters), lr=lr)], lr=1)

        def loss(model, x, y):
            calls.append(1)
            if len(calls) == stop:
                raise IndexError
            return F.cross_entropy(model(x), y)

        with pytest.raises(IndexError):
            fit(net(), blobs(), loss=loss, optimizer=optimizer, epochs=2, batch=16, checkpoint_steps=3, name="mine")

    train(0.1, 6)
    with pytest.raises(ValueError, match="config.optimizer.lr: saved 0.1, now 0.2"):  # its defaults are the same
        train(0.2, 6)


class Scaled(nn.Module):
    """A net of a notebook, as its cell was written first."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.layer, self.factor, self.calls = nn.Linear(2, 2), factor, 0

    def forward(self, x):
        self.calls += 1
        return self.factor * self.layer(x)


def edited(factor: float) -> nn.Module:
    """The same class with another ``forward``."""
    made = type("Scaled", (Scaled,), {"forward": lambda self, x: -self.factor * self.layer(x)})
    return made(factor)


@pytest.mark.parametrize(("model", "named"), [
    (lambda: edited(1.0), "G.Scaled"), (lambda: Scaled(2.0), "G.factor: saved 1.0, now 2.0")])
def test_loop_refuses_a_net_whose_class_was_edited(model, named):
    def begin(net):
        for step in loop(4, "x", keep=dict(G=net), checkpoint_steps=1):
            net(torch.ones(1, 2))
            if step == 2:
                break

    first = Scaled(1.0)
    begin(first)
    begin(first)  # the same object: its counter is at another number
    with pytest.raises(ValueError, match="another configuration") as refused:
        begin(model())
    assert named in str(refused.value)


def test_loop_takes_functions_as_settings():
    def begin(text):
        for step in loop(4, "x", keep=dict(G=nn.Linear(1, 1)), config=dict(loss=written(text)), checkpoint_steps=1):
            if step == 2:
                break

    begin(PLAIN)
    begin(PLAIN)
    with pytest.raises(ValueError, match="config.loss: its code changed"):
        begin(PLAIN.replace("return ", "return -"))


@pytest.mark.parametrize("name", [None, "mine"])
def test_another_python_begins_anew_and_says_so(name, monkeypatch):
    assert steps(STOPS, 8, name=name) == 8
    monkeypatch.setattr(code, "PYTHON", "3.99")
    with pytest.warns(UserWarning, match="is of another Python than 3.99.*Training starts anew"):
        assert steps(STOPS, name=name) == 12


def test_another_python_hides_no_other_difference(monkeypatch):
    steps(STOPS, 8, name="mine")
    monkeypatch.setattr(code, "PYTHON", "3.99")
    with pytest.raises(ValueError, match="config.loss.WEIGHT: saved 1.0, now 0.5"):
        steps(STOPS, name="mine", weight=0.5)


# --- nets that a function names ---------------------------------------------------------------------------


def test_nets_in_a_function():
    def around(model):
        return torch.no_grad()(lambda x: model(x - 0.5))

    class Holds:
        def __init__(self, model):
            self.model = model

        def answer(self, x):
            return self.model(x)

    one = nn.Linear(1, 1)
    held = functools.partial(lambda x, m: m(x), m=one), Holds(one).answer, one.forward, [lambda x: one(x)]
    for function in (one, lambda x: one(x), around(one), *held, written("def loss(x):\n    return ONE(x)", ONE=one)):
        assert code.nets_in(function) == [one]
    assert code.nets_in(F.relu) == [] and code.nets_in(len) == []
