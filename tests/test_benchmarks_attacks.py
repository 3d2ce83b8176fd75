"""The attacks' benchmarks compare like with like, and what users stumble over is found where it is and only there."""
from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from benchmarks import attacks, peers, stumbles
from benchmarks.peers import Package
from course_utils import data
from course_utils.attacks import fgsm, pgd
from course_utils.models import ConvNet

DOUBLE = torch.float64


@pytest.fixture(scope="module")
def digits() -> data.ImageSet:
    return data.load("digits").take(40)


@pytest.fixture(scope="module")
def model(digits) -> ConvNet:
    return attacks.classifier(data.load("digits"))


def begin_in_the_middle(monkeypatch):
    """Random starts of the loop at the picture itself."""
    monkeypatch.setattr(torch, "rand_like", lambda x: torch.full_like(x, 0.5))


def test_the_minimal_loops_do_the_mathematics_of_the_course(digits, model, monkeypatch):
    net, x, y = ConvNet(digits.shape, 10).to(DOUBLE), digits.images[:6].to(DOUBLE), digits.labels[:6]
    torch.testing.assert_close(attacks.loop_fgsm(net, x, y, 0.1), fgsm(net, x, y, eps=0.1))
    begin_in_the_middle(monkeypatch)
    found = attacks.loop_pgd(net, x, y, 0.1, 5)
    torch.testing.assert_close(found, pgd(net, x, y, eps=0.1, steps=5, random_start=False))
    assert not torch.allclose(found, attacks.loop_pgd(net, x, y, 0.1, 6))


def test_packages_are_used_for_the_same_attack(digits, model, monkeypatch):
    there, _ = peers.installed()
    x, y = digits.images[:8], digits.labels[:8]
    for name, package in attacks.packages(there).items():  # the peers where they are installed
        found, wanted = peers.as_tensor(package.fgsm(model, x, y, 0.1)), fgsm(model, x, y, eps=0.1)
        assert ((found - wanted).abs() > 1e-5).double().mean() < 0.01, name  # a gradient next to 0 may get another sign
        near = peers.as_tensor(package.pgd(model, x, y, 0.1, 5))
        assert 0.099 < (near - x).abs().max() < 0.1 + 1e-6, name


@pytest.mark.parametrize("net", attacks.NETS)
def test_nets_have_two_convolutions_and_answer(net, digits):
    model = attacks.NETS[net](digits.shape, 10)
    assert sum(isinstance(part, torch.nn.Conv2d) for part in model.modules()) == 2 and model(digits.images).shape == (40, 10)


def test_the_classifier_is_the_same_whenever_it_is_made_and_right(digits, model):
    assert attacks.fooled(model, digits.images, digits.labels) < 0.1 and not model.training
    assert attacks.fooled(model, digits.images, (digits.labels + 1) % 10) > 0.9


# ---- verdicts ----------------------------------------------------------------------------------------

LAZY = Package(lambda model, x, y, eps: x, lambda model, x, y, eps, steps: x.numpy())


def test_equal_success_is_asked_for_and_its_absence_is_seen(digits, model, monkeypatch):
    monkeypatch.setattr(attacks, "STEPS", 5)
    x, y = digits.images, digits.labels
    same = list(attacks.successes({"twin": peers.course()}, model, x, y))
    assert len(same) == 2 and all("within one point: yes" in line for line in same) and "PGD-5, share fooled: course" in same[1]
    assert all("within one point: NO" in line for line in attacks.successes({"lazy": LAZY}, model, x, y))


def test_robust_accuracy_is_the_same_by_evaluate_and_by_hand(digits, model, monkeypatch):
    monkeypatch.setattr(attacks, "STEPS", 10)
    monkeypatch.setattr(attacks, "BATCH", 16)
    rows, line = attacks.robust_rows({"loop": attacks.LOOP, "lazy": LAZY}, model, digits, 0.2, 1, 2.0)
    shares = dict(zip(("course", "loop", "lazy"), (float(part.split()[-2]) for part in line.split(": ")[1].split(","))))
    assert abs(shares["course"] - shares["loop"]) <= 2.5 < shares["lazy"] - shares["course"] and line.endswith("within half a point: NO")
    assert [row.name.split(", ")[-1] for row in rows] == ["loop", "lazy"]


def test_only_the_fastest_peer_is_required():
    seconds = {"course": [1.0, 1.0], "a": [3.0, 3.0], "b": [2.0, 2.0]}
    rows = list(attacks._against({"a": None, "b": None}, seconds, 1, "step", 2.5))
    assert [(row.name, row.ratio, row.required, row.reached) for row in rows] == [("step, a", 3, None, ""), ("step, b", 2, 2.5, "no")]
    assert list(attacks._against({}, seconds, 1, "step", 1.0)) == []


def test_without_the_peers_they_are_named_and_the_loop_is_left(digits, monkeypatch):
    def gone():
        raise ImportError("no module of that name")

    monkeypatch.setattr(peers, "PEERS", {"one": gone, "other": lambda: LAZY})
    there, missing = peers.installed()
    assert there == {"other": LAZY} and missing == {"one": "no module of that name"}
    monkeypatch.setattr(peers, "PEERS", {"one": gone})
    monkeypatch.setattr(attacks, "STEPS", 2)
    monkeypatch.setattr(attacks, "BATCH", 16)
    rows, lines = attacks.measure(fast=True)
    assert lines[0] == "one is not installed (no module of that name): left out"
    assert [row.name.split(", ")[-1] for row in rows] == ["minimal loop"] * 2 and all(row.name.startswith("ConvNet, ") for row in rows)
    assert all(row.required == pytest.approx(1 / 1.05) for row in rows)


# ---- where users stumble -----------------------------------------------------------------------------


def sloppy(model, x, y, eps, steps):
    """Does everything that one shouldn't."""
    model.train()
    x = x.float().clone(memory_format=torch.channels_last).requires_grad_()
    F.cross_entropy(model(x), y.clamp(0, 9) if y.ndim == 1 else y.argmax(1)).backward()
    return x + eps * x.grad.sign() * (0.5 + torch.rand_like(x))


def warns(model, x, y, eps, steps):
    import warnings

    warnings.warn("odd", UserWarning)
    return np.asarray(x)


def test_the_course_stumbles_nowhere_and_a_sloppy_attack_everywhere():
    found = {what: [stumbles.tried(one, what) for one in (peers.course().pgd, sloppy)] for what in [*stumbles.KEEPS, *stumbles.REFUSES]}
    assert {what: own for what, (own, _) in found.items() if not own.startswith("yes")} == {}
    assert {what: other for what, (_, other) in found.items() if other.startswith("yes")} == {}
    assert found["works under no_grad"][1] == "no, RuntimeError" and found["refuses NaN"] == ["yes, ValueError", "no"]


def test_a_warning_is_no_refusal_but_is_told():
    assert stumbles.tried(warns, "refuses NaN") == "warns" and stumbles.tried(warns, "returns no graph") == "yes"
    assert stumbles.tried(warns, "works under no_grad") == "no"  # nothing was changed


def test_the_table_has_a_line_for_each_stumble_and_a_column_for_each_package():
    lines = stumbles.table({"course": peers.course().pgd, "sloppy": sloppy})
    assert lines[0].split() == ["course", "sloppy"] and len(lines) == 1 + len(stumbles.KEEPS) + len(stumbles.REFUSES)
    assert lines[1].startswith("works under no_grad") and lines[1].split()[-3:] == ["yes", "no,", "RuntimeError"]
