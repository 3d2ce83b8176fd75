"""Substitutes of a model that only answers: what is asked, how often, and that it helps."""
from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from course_utils.attacks import along_the_label, at_random, blackbox, substitute

DRAW = torch.Generator().manual_seed(0)
SEEDS = torch.rand(10, 1, 4, 4, generator=DRAW)
WEIGHT = torch.randn(3, 16, generator=DRAW)


@pytest.fixture(autouse=True)
def own_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path))


def net() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3))


def truth(images: torch.Tensor) -> torch.Tensor:
    return ((images - 0.5).flatten(1) @ WEIGHT.T).argmax(1)


class Counting:
    """An oracle that remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[torch.Tensor] = []

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        self.asked.append(images)
        return truth(images)


def run(oracle: Counting, **how) -> list:
    return list(substitute(oracle, net, SEEDS, 3, **{"rounds": 4, "limit": 1000, "epochs": 1, "batch": 5, **how}))


def test_pictures_move_along_the_gradient_of_their_label():
    model, labels = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), torch.arange(10) % 3
    signs = model[1].weight.detach()[labels].sign().view_as(SEEDS)
    for step in (0.1, -0.1):
        torch.testing.assert_close(along_the_label(model, SEEDS, labels, step), (SEEDS + step * signs).clamp(0, 1))
    assert torch.equal(along_the_label(model, SEEDS, labels, 0.1, batch=3), along_the_label(model, SEEDS, labels, 0.1))


def test_the_model_and_the_random_state_stay_as_they_are():
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(16), nn.Dropout(), nn.Linear(16, 3)).train()
    before, stream = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    with torch.no_grad():
        along_the_label(model, SEEDS, torch.zeros(10, dtype=torch.int64))
    assert model.training and all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values()))
    assert all(p.grad is None for p in model.parameters()) and torch.equal(torch.get_rng_state(), stream)


def test_the_control_steps_as_far_in_every_pixel():
    inside = 0.3 + 0.4 * SEEDS
    change = at_random(net(), inside, None, 0.1) - inside
    torch.testing.assert_close(change.abs(), torch.full_like(change, 0.1))
    assert 0.3 < (change > 0).float().mean() < 0.7


def test_every_round_asks_about_the_new_pictures_alone_and_doubles_them():
    oracle = Counting()
    rounds = run(oracle)
    assert [len(asked) for asked in oracle.asked] == [10, 10, 20, 40]
    assert [now.queries for now in rounds] == [10, 20, 40, 80] and [now.number for now in rounds] == [0, 1, 2, 3]
    assert torch.equal(rounds[-1].images, torch.cat(oracle.asked))
    assert torch.equal(rounds[-1].labels, truth(rounds[-1].images))


def test_the_limit_is_kept_and_used_up():
    oracle = Counting()
    assert [now.queries for now in run(oracle, limit=33, rounds=9)] == [10, 20, 33] and sum(map(len, oracle.asked)) == 33


def test_the_step_turns_after_every_period():
    steps = []

    def noted(model, images, labels, step):
        steps.append(step)
        return images

    run(Counting(), rounds=5, step=0.2, period=2, augment=noted)
    assert steps == [0.2, 0.2, -0.2, -0.2]


def test_new_pictures_come_from_the_substitute_of_their_round_and_the_oracles_labels():
    oracle = Counting()
    rounds = run(oracle, rounds=3)
    for now, asked in zip(rounds, oracle.asked[1:]):
        sign = 1 if now.number % 2 == 0 else -1
        torch.testing.assert_close(asked, along_the_label(now.model, now.images, now.labels, sign * 0.1))


def test_asking_brings_the_substitute_nearer():
    torch.manual_seed(0)
    fresh = torch.rand(500, 1, 4, 4, generator=DRAW)
    rounds = list(substitute(Counting(), net, SEEDS, 3, rounds=7, limit=1000, epochs=30, batch=5, lr=1e-2, step=0.3))
    agree = [(now.model(fresh).argmax(1) == truth(fresh)).float().mean().item() for now in rounds]
    assert agree[-1] >= agree[0] + 0.1


@pytest.mark.parametrize("change, argument", [
    ({"rounds": 0}, "rounds"), ({"limit": 9}, "seeds"), ({"limit": 0}, "limit"), ({"period": 0}, "period"), ({"step": 0}, "step"), ({"epochs": 1.5}, "epochs"),
])
def test_bad_settings_are_refused_before_anything_is_asked(change, argument):
    oracle = Counting()
    with pytest.raises(ValueError, match=f"^{argument}: expected .+, got "):
        run(oracle, **change)
    assert not oracle.asked


@pytest.mark.parametrize("answer", [lambda x: torch.full((len(x),), 3), lambda x: torch.zeros(len(x)), lambda x: torch.zeros(len(x) + 1, dtype=torch.int64)])
def test_an_oracle_that_answers_otherwise_is_refused(answer):
    with pytest.raises(ValueError, match="^the oracle's answers: expected "):
        run(answer)


@pytest.mark.parametrize("x, labels, argument", [(SEEDS + 1, torch.zeros(10, dtype=torch.int64), "x"), (SEEDS, torch.zeros(9, dtype=torch.int64), "labels")])
def test_bad_pictures_are_refused_by_name(x, labels, argument):
    with pytest.raises(ValueError, match=f"^{argument}: expected .+, got "):
        along_the_label(net(), x, labels)


def test_a_label_that_the_model_does_not_know_is_called_labels_and_pictures_may_have_a_graph():
    labels = torch.arange(10) % 3
    with pytest.raises(ValueError, match="^labels: expected class numbers below 3"):
        along_the_label(net(), SEEDS, labels + 1)
    model, given = net(), SEEDS.clone().requires_grad_()
    assert torch.equal(along_the_label(model, given, labels), along_the_label(model, SEEDS, labels))
    assert not at_random(model, given, labels).requires_grad


def test_new_pictures_are_made_where_the_model_is(monkeypatch):
    met = []

    class Far(nn.Module):
        """Training takes it to another device."""

        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(3, 16))

        def forward(self, x):
            return x.flatten(1) @ self.weight.T

    def fit(model, data, **how):
        model.to("meta")

    def augment(model, images, labels, step):
        met.append((images.device.type, labels.device.type))
        return torch.rand(images.shape, device="meta")

    monkeypatch.setattr(blackbox, "fit", fit)
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *where, to=torch.Tensor.to, **how: torch.zeros(self.shape) if self.is_meta else to(self, *where, **how))
    rounds = list(substitute(truth, Far, SEEDS, 3, rounds=2, limit=15, augment=augment))
    assert met == [("meta", "meta")] and [now.images.device.type for now in rounds] == ["cpu", "cpu"]
    assert rounds[1].queries == 15


def test_an_oracle_that_answers_no_tensor_is_refused():
    with pytest.raises(ValueError, match="^the oracle's answers: expected a torch.Tensor"):
        run(lambda x: [0] * len(x))
