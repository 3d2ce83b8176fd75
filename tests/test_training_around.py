"""What surrounds a training: foreign files, left-over variables, numbers of numpy, defaults of torch, nets in place."""
from __future__ import annotations

import os
import pickle
import warnings
from collections import namedtuple
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from training_runs import Run, blobs, net

from course_utils.gan.metrics import kept
from course_utils.training import History, checkpoint, cross_entropy, evaluate, fit, loop
from course_utils.training.order import EpochOrder
from course_utils.training.processes import rank_and_count

TORCHRUN = dict(RANK="1", WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT="29500")


@pytest.fixture(autouse=True)
def apart(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("COURSE_STATIC", "1")
    monkeypatch.setenv("COURSE_DEVICE", "cpu")
    for name in TORCHRUN:
        monkeypatch.delenv(name, raising=False)


def file_of(name: str) -> Path:
    return checkpoint.checkpoint_path(name)


def interrupted(**settings) -> Run:
    run = Run()
    with pytest.raises(KeyboardInterrupt):
        run.train(stop_at=30, **settings)
    return run


# --- nets that change what they get -----------------------------------------------------------------------


class InPlace(nn.Module):
    """A net that normalises its input in place."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 3)

    def forward(self, x):
        return self.layer(x.sub_(0.5).div_(0.25).flatten(1))


def test_a_net_that_normalises_in_place_leaves_the_data_alone():
    data, model = blobs(), InPlace()
    images, labels = data.images.clone(), data.labels.clone()
    fit(model, data, epochs=1, batch=32)
    assert evaluate(model, data).total == 96
    stored = data.images.clone()
    evaluate(model, data, lambda model, x, y: stored)
    assert torch.equal(data.images, images) and torch.equal(stored, images)

    def spoils(model, x, y):
        value = F.cross_entropy(model(x.clone()), y.clone())
        x.zero_(), y.zero_()
        return value

    fit(model, data, loss=spoils, epochs=1, batch=32)
    assert torch.equal(data.images, images) and torch.equal(data.labels, labels)


# --- several processes ------------------------------------------------------------------------------------


def streams(rank: int, monkeypatch) -> list:
    """What the global streams of the process with this ``rank`` give after a resume."""
    import random

    with monkeypatch.context() as patch:
        for name, value in (TORCHRUN | dict(RANK=str(rank))).items():
            patch.setenv(name, value)
        run = loop(60, "run", keep=dict(model=net()), checkpoint_steps=7)
        for _ in run:
            return [random.random(), np.random.rand(), torch.rand(1).item()]


def test_after_a_resume_every_process_has_streams_of_its_own(monkeypatch):
    for step in loop(60, "run", keep=dict(model=net()), checkpoint_steps=7):
        if step == 8:
            break
    first, second, third = (streams(rank, monkeypatch) for rank in (0, 1, 2))
    for one, two, three in zip(first, second, third):
        assert len({one, two, three}) == 3
    assert streams(1, monkeypatch) == second
    saved = torch.load(file_of("run"), weights_only=True)["random"]
    checkpoint.set_random_state(saved)
    assert torch.rand(1).item() == first[2]


@pytest.mark.parametrize("left_over", [
    dict(RANK="3"), dict(WORLD_SIZE="4"), dict(RANK="3", WORLD_SIZE="4"), TORCHRUN | dict(MASTER_PORT="")])
def test_variables_left_over_say_nothing(left_over, monkeypatch):
    for name, value in left_over.items():
        monkeypatch.setenv(name, value)
    assert rank_and_count() == (0, 1) and checkpoint.is_main_process()
    interrupted()
    assert file_of("run").exists()
    assert len(fit(net(), blobs(), epochs=1, batch=32)["loss"]) == 3


def test_the_whole_set_of_variables_counts(monkeypatch):
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    assert rank_and_count() == (1, 2) and not checkpoint.is_main_process()


# --- what can't be read back ------------------------------------------------------------------------------


def numbers_of_numpy(parameters):
    return torch.optim.SGD(parameters, lr=np.logspace(-2, -1, 3)[1], momentum=np.float64(0.9))


def test_numbers_of_numpy_in_an_optimizer_can_be_read_back():
    def train(left=100):
        entries, model = [0] * left, net()

        def loss(model, x, y):
            entries.pop()
            return F.cross_entropy(model(x), y)

        fit(model, blobs(), loss=loss, optimizer=numbers_of_numpy, epochs=3, batch=16, checkpoint_steps=3)
        return left - len(entries), model

    steps, whole = train()
    assert steps == 18
    with pytest.raises(IndexError):
        train(13)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        steps, resumed = train()
    assert steps == 18 - 12
    assert all(torch.equal(one, two) for one, two in zip(whole.parameters(), resumed.parameters()))


class Kept:
    """Anything with a state."""

    def __init__(self, state: object) -> None:
        self.state = state

    def state_dict(self):
        return self.state

    def load_state_dict(self, state):
        self.state = state


def steps_with(state: object, stop: int | None = None) -> Kept:
    thing = Kept(state)
    for step in loop(6, "kept", keep=dict(model=net(), thing=thing), checkpoint_steps=2):
        if step == stop:
            break
    return thing


def test_what_is_kept_of_numpy_comes_back_as_it_was():
    listed = [np.arange(4, dtype=np.int16), (np.bool_(True), "text")]
    state = {"a": np.float32(0.5), np.int64(3): listed, "t": torch.ones(2)}
    steps_with(state, stop=4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = steps_with({"t": torch.zeros(2)}).state
    assert found["a"] == 0.5 and found[3][1] == (True, "text") and found["t"].tolist() == [1, 1]
    assert isinstance(found[3][0], np.ndarray) and found[3][0].dtype == np.int16
    assert found[3][0].tolist() == [0, 1, 2, 3]


Pair = namedtuple("Pair", "a b")


@pytest.mark.parametrize(("state", "named"), [
    ({"f": lambda: 1}, "lambda"), ({"pair": Pair(1, 2)}, "Pair"), ({"path": Path(".")}, "pathlib"),
    ({"text": np.array(["a"], dtype=object)}, "numpy")])
def test_what_cannot_be_read_back_is_named_when_training_begins_and_never_written(state, named):
    begun = []
    wanted = rf"kept: the state of keep\['thing'\] \(Kept\) could not be read back .*{named}.*None is written"
    with pytest.warns(UserWarning, match=wanted) as said:
        for step in loop(6, "kept", keep=dict(model=net(), thing=Kept(state)), checkpoint_steps=2):
            begun.append((step, len(said)))
            assert not file_of("kept").exists()
    assert begun == [(step, 1) for step in range(6)]


def test_a_state_that_grows_unreadable_is_found_at_the_first_checkpoint():
    thing = Kept({})
    with pytest.warns(UserWarning, match="could not be read back .*none is written; there is none yet"):
        for step in loop(6, "kept", keep=dict(model=net(), thing=thing), checkpoint_steps=2):
            thing.state["path"] = Path(".")
            assert not file_of("kept").exists()
    assert step == 5


def test_a_checkpoint_is_read_back_once(monkeypatch):
    read = []
    real = torch.load
    monkeypatch.setattr(torch, "load", lambda *a, **k: read.append(1) or real(*a, **k))
    for step in loop(6, "kept", keep=dict(model=net()), checkpoint_steps=1):
        pass
    assert len(read) == 1 + 1  # keep's state before the first step, the first checkpoint


# --- files that belong to somebody else -------------------------------------------------------------------


@contextmanager
def forbidden(monkeypatch, *places: tuple[object, str]):
    """Every call of these functions on a file of the data folder raises PermissionError, as another user's would."""
    with monkeypatch.context() as patch:
        for owner, name in places:
            real = getattr(owner, name)

            def fails(*arguments, real=real, **settings):
                if any(str(part).startswith(os.environ["COURSE_DATA_DIR"]) for part in arguments):
                    raise PermissionError(13, "Permission denied", str(arguments[0]))
                return real(*arguments, **settings)

            patch.setattr(owner, name, fails)
        yield



@pytest.mark.parametrize("name", ["unlink", "mkdir", "replace", "read_bytes"])
def test_a_folder_of_somebody_else_costs_no_training(name, monkeypatch):
    whole = Run().train(name="whole")
    interrupted()
    before = file_of("run").read_bytes()
    run = Run()
    said = "run: .*run.pt.*Permission denied|run: no checkpoint"
    with forbidden(monkeypatch, (os if name == "replace" else Path, name)), pytest.warns(UserWarning, match=said):
        history = run.train()
    assert len(history["loss"]) == 60 and torch.equal(history["loss"], whole["loss"])
    if name in ("unlink", "read_bytes"):  # what can't be read is not ours to remove
        assert file_of("run").exists()
    if name == "read_bytes":
        assert file_of("run").read_bytes() == before


def test_the_stop_button_is_not_hidden_by_a_folder_of_somebody_else(monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", stop)
    with forbidden(monkeypatch, (Path, "unlink")), pytest.warns(UserWarning, match="could not be removed"):
        with pytest.raises(KeyboardInterrupt):
            Run().train()


# --- judges -----------------------------------------------------------------------------------------------


def judge(trained: list) -> nn.Module:
    return kept.judge("one", blobs(), lambda: net(), trained.append, "recipe")


def test_a_damaged_judge_is_named_and_replaced():
    trained = []
    judge(trained)
    (file,) = (file_of("x").parents[1] / "judges").iterdir()
    judge(trained)
    assert len(trained) == 1
    file.write_bytes(pickle.dumps({}))
    wanted = "the judge .*one-.*is damaged .*it is trained anew, and the file replaced"
    with pytest.warns(UserWarning, match=wanted) as said:
        judge(trained)
    assert "checkpoint" not in str(said[0].message) and len(trained) == 2
    judge(trained)
    assert len(trained) == 2


@pytest.mark.parametrize("name", ["mkdir", "replace", "read_bytes"])
def test_judges_need_no_folder_of_their_own(name, monkeypatch):
    trained = []
    judge(trained)
    with forbidden(monkeypatch, (os if name == "replace" else Path, name)):
        if name != "read_bytes":
            next((file_of("x").parents[1] / "judges").iterdir()).unlink()
        with pytest.warns(UserWarning, match="The judge .*Permission denied"):
            assert isinstance(judge(trained), nn.Module)
    assert len(trained) == 2


# --- bfloat16, outputs, devices ---------------------------------------------------------------------------


def looks_first(model, x, y):
    """A loss that asks the model without gradient before."""
    with torch.no_grad():
        target = model(x).softmax(1)
    return F.cross_entropy(model(x), y) + F.cross_entropy(model(x), target.float())


def test_a_loss_that_looks_first_trains_in_bfloat16(monkeypatch):
    entered = []
    real = torch.autocast.__init__
    monkeypatch.setattr(torch.autocast, "__init__", lambda self, *a, **k: entered.append(k) or real(self, *a, **k))
    model = net(0.0)
    before = [parameter.clone() for parameter in model.parameters()]
    fit(model, blobs(), loss=looks_first, epochs=1, batch=32, mixed_precision=True)
    for parameter, old in zip(model.parameters(), before):
        assert parameter.grad is not None and not torch.equal(parameter, old)
    assert entered and all(settings["cache_enabled"] is False for settings in entered)


Outputs = namedtuple("Outputs", "logits aux_logits")


class Auxiliary(nn.Module):
    """Answers as GoogLeNet: logits at rest, a pair in training. ``always``: an object with logits, as Hugging Face's."""

    def __init__(self, always: bool = False) -> None:
        super().__init__()
        self.layer, self.always = nn.Linear(16, 3), always

    def forward(self, x):
        logits = self.layer(x.flatten(1))
        if self.always:
            return SimpleNamespace(logits=logits)
        return Outputs(logits, logits) if self.training else logits


@pytest.mark.parametrize(("always", "named"), [
    (False, r"Outputs\(logits, aux_logits\)"), (True, r"SimpleNamespace\(logits\)")])
def test_an_answer_with_logits_is_named_and_a_loss_can_take_it_apart(always, named):
    wanted = rf"loss: expected .*{named}.*loss=lambda model, x, y: F.cross_entropy\(model\(x\).logits, y\)"
    with pytest.raises(ValueError, match=wanted):
        fit(Auxiliary(always), blobs(), epochs=1, batch=32)
    model = Auxiliary(always)
    fit(model, blobs(), loss=lambda model, x, y: F.cross_entropy(model(x).logits, y), epochs=30, batch=32, lr=0.05)
    if always:
        with pytest.raises(ValueError, match=r"model: expected a torch.Tensor .*: lambda x: model\(x\).logits"):
            evaluate(model, blobs())
    assert evaluate((lambda x: model(x).logits) if always else model, blobs(seed=1)).accuracy > 0.9


class Elsewhere(nn.Module):
    """A net on a device of its own, which takes no pictures from another: torch's "meta" stands for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 3, device="meta")
        self.seen = []

    def forward(self, x):
        self.seen.append((x.device.type, self.layer.weight.requires_grad))
        raise KeyboardInterrupt


@pytest.mark.parametrize("around", [
    lambda net: lambda x: net(x), lambda net: partial(lambda x, net: net(x), net=net), lambda net: net.forward])
def test_pictures_go_to_the_device_of_a_net_within_a_function(around):
    model = Elsewhere()

    with pytest.raises(KeyboardInterrupt):
        evaluate(around(model), blobs())
    assert model.seen == [("meta", False)] and model.layer.weight.requires_grad


@pytest.fixture
def meta_by_default():
    torch.set_default_device("meta")
    yield
    torch.set_default_device(None)


def test_another_default_device_changes_nothing(meta_by_default):
    with torch.device("cpu"):
        data, models = blobs(), [net(0.0), net(0.0)]
        order = torch.randperm(10, generator=torch.Generator().manual_seed(3))
        expected = fit(models[0], data, epochs=2, batch=16, lr=0.01)["loss"]
    batches = EpochOrder(10, 5, 3, torch.device("cpu"))
    assert torch.cat([batches.batch(0), batches.batch(1)]).tolist() == order.tolist()
    history = History()
    history.log(0, a=1.5), history.log(1, a=np.float64(2))
    assert history["a"].tolist() == [1.5, 2] and history.steps("a").tolist() == [0, 1]
    checkpoint.set_random_state(checkpoint.random_state())
    found = fit(models[1], data, epochs=2, batch=16, lr=0.01, device="cpu", checkpoint_steps=2)["loss"]
    assert torch.equal(found, expected) and str(evaluate(models[1], data)) == str(evaluate(models[0], data))
    for stop in (4, None):
        keep = dict(model=models[0], draws=torch.Generator("cpu"))
        for step in (run := loop(6, "meta", keep=keep, checkpoint_steps=2)):
            run.log(a=step)
            if step == stop:
                break
    assert run.history["a"].tolist() == list(range(6))


# --- what a step waits for --------------------------------------------------------------------------------


WAITS = ("item", "__bool__", "tolist", "cpu", "numpy", "nonzero", "__float__", "__int__", "__index__")


def test_a_step_of_fit_waits_for_nothing(monkeypatch):
    counts, at = [], []

    def loss(model, x, y):
        at.append(len(counts))
        return cross_entropy(model, x, y)

    for name in WAITS:
        real = getattr(torch.Tensor, name)
        counted = lambda *a, real=real, name=name, **k: counts.append(name) or real(*a, **k)  # noqa: E731
        monkeypatch.setattr(torch.Tensor, name, counted)
    fit(net(), blobs(), loss=loss, epochs=10, batch=16)
    assert len(at) == 60
    assert at[0] == at[25] == at[49], counts[at[0] : at[49]]  # the first look is after step 50
    assert at[50] > at[49] and at[50] == at[59]
