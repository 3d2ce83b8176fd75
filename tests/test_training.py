"""Interrupted and resumed is the same as never stopped; several processes are the same as one."""
from __future__ import annotations

import errno
import functools
import math
import os
import pickle
import random
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from training_runs import Run, blobs, fit_both, net, normed

from course_utils.data import ImageSet
from course_utils.training import Evaluation, History, TrainingDiverged, checkpoint, cross_entropy, evaluate, fit, loop

SCRIPT = Path(__file__).with_name("training_runs.py")


@pytest.fixture(autouse=True)
def quiet_and_apart(tmp_path, monkeypatch):
    """Every test has checkpoints of its own, and no bar."""
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("COURSE_STATIC", "1")
    monkeypatch.setenv("COURSE_DEVICE", "cpu")
    monkeypatch.delenv("COURSE_SEED", raising=False)


def file_of(name: str) -> Path:
    return checkpoint.checkpoint_path(name)


def next_numbers() -> list:
    """What every global random stream gives next."""
    return [random.random(), np.random.rand(), np.random.randn(), torch.rand(3).tolist()]


def tensors_of(run: Run) -> list:
    moments = [moment for one in run.optimizer.state.values() for moment in one.values()]
    return [*run.model.state_dict().values(), *moments, run.stream.get_state()]


def same(first: list, second: list) -> bool:
    return len(first) == len(second) and all(torch.equal(a, b) for a, b in zip(first, second))


def same_history(first: History, second: History) -> bool:
    one, other = first.state_dict(), second.state_dict()
    numbers = same(list(one["values"].values()), list(other["values"].values()))
    pictures = all(same(one["snapshots"][name], other["snapshots"][name]) for name in one["snapshots"])
    return numbers and pictures and all(one[part] == other[part] for part in ("steps", "snapshot_steps"))


@functools.cache
def uninterrupted() -> tuple[list, History, list]:
    """The tensors and the history of a whole run, and the random numbers after it."""
    run = Run()
    history = run.train(name="whole")
    return tensors_of(run), history, next_numbers()


def expect_as_uninterrupted(run: Run, history: History) -> None:
    tensors, whole, numbers = uninterrupted()
    assert next_numbers() == numbers
    assert same(tensors_of(run), tensors)
    assert same_history(history, whole)


def interrupt(stop_at: int, **settings) -> None:
    with pytest.raises(KeyboardInterrupt):
        Run().train(stop_at=stop_at, **settings)


def child(*arguments: object) -> subprocess.Popen:
    """A python of its own, one thread, with the course on its path."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SCRIPT.parents[1])}
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, *map(str, arguments)], env=env, stdout=pipe, stderr=pipe, text=True)


def expect_success(process: subprocess.Popen) -> str:
    """Wait for its end; what it wrote to stderr."""
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return errors


# --- interrupted, and run again ---------------------------------------------------------------------------


def test_a_finished_run_leaves_no_checkpoint_and_trains_again():
    tensors, history, _ = uninterrupted()
    again = Run()
    expect_as_uninterrupted(again, again.train())
    assert not file_of("run").exists()
    assert not torch.equal(tensors[0], net()[1].weight)
    assert history["loss"].shape == (60,) and history["pair"].shape == (60, 2)
    assert history["loss"].dtype == torch.float64
    assert history.snapshot_steps["bias"] == [0, 10, 20, 30, 40, 50]


@pytest.mark.parametrize("stop_at", [7, 40, 59])
def test_interrupted_and_resumed_is_uninterrupted(stop_at):
    uninterrupted()
    interrupt(stop_at)
    assert torch.load(file_of("run"), weights_only=True)["done"] == stop_at // 7 * 7
    next_numbers()  # whatever is drawn in between
    resumed = Run()
    expect_as_uninterrupted(resumed, resumed.train())
    assert not file_of("run").exists()


def test_the_same_objects_can_go_on_after_an_interruption():
    uninterrupted()
    run = Run()
    with pytest.raises(KeyboardInterrupt):
        run.train(stop_at=33)
    expect_as_uninterrupted(run, run.train())


def test_interrupted_twice():
    uninterrupted()
    interrupt(20)
    interrupt(45)
    resumed = Run()
    expect_as_uninterrupted(resumed, resumed.train())


def test_interrupted_before_the_first_checkpoint_starts_anew():
    uninterrupted()
    interrupt(3)
    assert not file_of("run").exists()
    again = Run()
    expect_as_uninterrupted(again, again.train())


def test_a_killed_process_resumes():
    uninterrupted()
    process = child(SCRIPT, "killed")
    deadline = time.monotonic() + 60
    while not file_of("run").exists():
        assert process.poll() is None and time.monotonic() < deadline, "the child wrote no checkpoint"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    resumed = Run()
    expect_as_uninterrupted(resumed, resumed.train())


def test_breaking_out_keeps_checkpoint_and_history():
    model = net()
    for step in (run := loop(40, "left", keep=dict(model=model), checkpoint_steps=10)):
        run.log(step=step)
        if step == 24:
            break
    assert run.history["step"].tolist() == list(range(25))
    assert torch.load(file_of("left"), weights_only=True)["done"] == 20


def test_checkpoints_by_the_clock():
    model = net()
    for step in loop(4, "clock", keep=dict(model=model), checkpoint_seconds=0.05):
        assert file_of("clock").exists() == (step > 1)
        if step == 1:
            time.sleep(0.06)
    for _ in loop(4, "clock", keep=dict(model=model)):
        assert not file_of("clock").exists()


def test_seconds_add_up_over_interruptions():
    def train(stop_at):
        for step in (run := loop(4, "slow", keep=dict(model=net()), checkpoint_steps=1)):
            time.sleep(0.02)
            if step == stop_at:
                break
        return run.history.seconds

    train(2)
    time.sleep(0.3)
    assert 0.08 <= train(None) < 0.3


# --- another configuration, a damaged file, a full disk ---------------------------------------------------


def kept(model: nn.Module, lr: float = 0.1) -> dict:
    return dict(G=model, opt=torch.optim.Adam(model.parameters(), lr=lr))


def begin(steps: int = 30, config: dict | None = None, keep: dict | None = None) -> None:
    for step in loop(steps, "mine", keep=keep or kept(net()), config=config or dict(k=1), checkpoint_steps=5):
        if step == 12:
            break


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (dict(steps=31), "steps: saved 30, now 31"),
        (dict(config=dict(k=2)), "config.k: saved 1, now 2"),
        (dict(config=dict(k=1, z=3)), "config.z: saved nothing, now 3"),
        (dict(keep=kept(nn.Linear(2, 3))), "G: saved Sequential(), now Linear(in_features=2,"),
        (dict(keep=kept(nn.Sequential(*net()[:2], nn.Tanh(), *net()[3:]))), "G.2: saved ReLU(), now Tanh()"),
        (dict(keep=kept(net(dropout=0.25))), "p=0.25"),
        (dict(keep=kept(net(), lr=0.2)), "opt.lr: saved 0.1, now 0.2"),
        (dict(keep=kept(net()) | dict(rng=torch.Generator())), "rng: saved nothing, now Generator"),
    ],
)
def test_another_configuration_is_refused(change, named):
    begin()
    before = file_of("mine").read_bytes()
    with pytest.raises(ValueError) as refused:
        begin(**change)
    for text in (str(file_of("mine")), named, "Delete that file", "another name"):
        assert text in str(refused.value)
    assert file_of("mine").read_bytes() == before


def damage_cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def damage_one_byte_of_the_weights(data: bytes) -> bytes:
    weights = net()[1].weight.detach().numpy().tobytes()
    at = data.index(weights) + 10
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def damage_pickle(data: bytes) -> bytes:
    return pickle.dumps(dict(settings={}))


@pytest.mark.parametrize("damage", [damage_cut, damage_one_byte_of_the_weights, damage_pickle, lambda data: b""])
def test_a_damaged_checkpoint_is_named_and_removed(damage):
    begin()  # trains nothing: the weights in the file are those of net()
    file_of("mine").write_bytes(damage(file_of("mine").read_bytes()))
    seen = []
    with pytest.warns(UserWarning, match="the checkpoint .*mine.pt is damaged .*training starts anew"):
        for step in loop(30, "mine", keep=kept(net()), config=dict(k=1)):
            seen.append(step)
            assert not file_of("mine").exists()
    assert seen == list(range(30))


def test_a_file_that_is_no_checkpoint_counts_as_damaged():
    file_of("mine").parent.mkdir(parents=True)
    torch.save(net().state_dict(), file_of("mine"))
    with pytest.warns(UserWarning, match="the checkpoint .*mine.pt is damaged .*training starts anew"):
        begin()


@pytest.fixture
def failing(monkeypatch):
    """``with failing(error, at):`` lets ``os.fsync`` or ``os.replace`` raise ``error`` after ``good`` calls."""

    @contextmanager
    def context(error: BaseException, at: str, good: int = 1):
        real, calls = getattr(os, at), []

        def fails(*arguments):
            calls.append(arguments)
            if len(calls) > good:
                raise error
            return real(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(os, at, fails)
            yield

    return context


@pytest.mark.parametrize("at", ["fsync", "replace"])
def test_a_full_disk_leaves_the_checkpoint_and_training_goes_on(failing, at):
    uninterrupted()
    full = OSError(errno.ENOSPC, "No space left on device")
    with failing(full, at), pytest.warns(UserWarning, match="No space left.*the one after 7 steps stays"):
        interrupt(58)
    assert [path.name for path in file_of("run").parent.iterdir()] == ["run.pt"]
    resumed = Run()
    expect_as_uninterrupted(resumed, resumed.train())


def test_a_disk_that_is_full_from_the_start(failing):
    uninterrupted()
    run = Run()
    with failing(OSError(errno.ENOSPC, "No space left"), "fsync", good=0), pytest.warns(UserWarning, match="none yet"):
        history = run.train()
    expect_as_uninterrupted(run, history)


@pytest.mark.parametrize("at", ["fsync", "replace"])
def test_an_interrupt_while_writing_leaves_the_checkpoint(failing, at):
    uninterrupted()
    with failing(KeyboardInterrupt(), at), pytest.raises(KeyboardInterrupt):
        Run().train()
    assert [path.name for path in file_of("run").parent.iterdir()] == ["run.pt"]
    assert torch.load(file_of("run"), weights_only=True)["done"] == 7
    resumed = Run()
    expect_as_uninterrupted(resumed, resumed.train())


# --- NaN --------------------------------------------------------------------------------------------------


def diverging(values, steps: int = 60, **settings):
    model = net()
    for step in (run := loop(steps, "nan", keep=dict(G=model), **settings)):
        run.log(fine=1.0, **values(step, model))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("settings", "good"), [(dict(checkpoint_steps=10), 30), (dict(checkpoint_steps=37), 37)])
def test_nan_is_named_with_its_step_and_the_checkpoint_is_older(bad, settings, good):
    with pytest.raises(TrainingDiverged) as stopped:
        diverging(lambda step, model: dict(d_loss=torch.tensor(bad if step >= 37 else 0.5)), **settings)
    assert (stopped.value.name, stopped.value.step, stopped.value.run) == ("d_loss", 37, None)
    for text in ("nan: d_loss", "step 37", str(file_of("nan")), f"after {good} steps"):
        assert text in str(stopped.value)
    saved = torch.load(file_of("nan"), weights_only=True)
    assert saved["done"] == good
    assert all(torch.isfinite(value).all() for value in saved["history"]["values"].values())


def test_nan_in_one_run_of_a_stack_without_a_checkpoint():
    def values(step, model):
        loss = torch.ones(4)
        loss[2] = math.nan if step == 37 else 1.0
        return dict(g_loss=loss)

    with pytest.raises(TrainingDiverged, match="g_loss .* step 37 in run 2 .* none yet"):
        diverging(values)


def test_nan_in_the_last_steps_is_found_at_the_end():
    with pytest.raises(TrainingDiverged, match="step 58"):
        diverging(lambda step, model: dict(loss=math.nan if step == 58 else 0.0))


def test_the_earliest_of_several_is_named():
    with pytest.raises(TrainingDiverged, match="second .* step 3"):
        diverging(lambda step, model: dict(first=math.nan if step > 4 else 0.0, second=math.nan if step > 2 else 0.0))


def test_weights_that_are_nan_are_never_saved():
    def values(step, model):
        if step == 37:
            model[1].weight.data[0, 0] = math.nan
        return dict(loss=0.0)

    with pytest.raises(TrainingDiverged, match=r"G\.1\.weight .* after step 39\. .*after 30 steps"):
        diverging(values, checkpoint_steps=10)
    assert torch.isfinite(torch.load(file_of("nan"), weights_only=True)["kept"]["G"]["1.weight"]).all()
    with pytest.raises(TrainingDiverged, match="after step 59"):
        file_of("nan").unlink()
        diverging(values)


def test_nan_in_fit():
    def loss(model, x, y):
        seen.append(1)
        return cross_entropy(model, x, y) * (math.nan if len(seen) == 6 else 1)

    seen = []
    with pytest.raises(TrainingDiverged, match="loss became NaN or infinite at step 5"):
        fit(net(), blobs(), loss=loss, epochs=3, batch=16)


# --- the history, and the bar -----------------------------------------------------------------------------


def test_history():
    history = History()
    for step in range(4):
        history.log(step, a=step, b=torch.tensor([step, 2.0 * step], requires_grad=True))
    history.log(9, a=0.1, rare=torch.tensor(3, dtype=torch.int32))
    picture = torch.zeros(2)
    history.snapshot(9, p=picture)
    picture += 1
    copy = History()
    copy.load_state_dict(history.state_dict())
    copy.log(10, a=5)
    for one in (history, copy):
        assert one["a"][:5].tolist() == [0, 1, 2, 3, 0.1]
        assert one["b"].tolist() == [[0, 0], [1, 2], [2, 4], [3, 6]] and not one["b"].requires_grad
        assert one.last("b", 2).tolist() == [2.5, 5] and one.last("b", 100).tolist() == [1.5, 3]
        assert one.steps("a")[:5].tolist() == [0, 1, 2, 3, 9] and one.steps("rare").tolist() == [9]
        assert one.snapshots["p"][0].tolist() == [0, 0] and one.snapshot_steps["p"] == [9]
        assert list(one) == ["a", "b", "rare"] and "a" in one and "c" not in one
    assert len(history["a"]) == 5 and len(copy["a"]) == 6
    assert repr(history) == "History(a (5,), b (4, 2), rare (1,); snapshots: 1 x p; 0.0 s)"


def test_logged_tensors_are_copies():
    total, history = torch.zeros(()), History()
    for step in range(3):
        total += 1
        history.log(step, total=total)
    assert history["total"].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        (lambda h: h.log(1, a=torch.zeros(2)), "a: expected the shape () as before"),
        (lambda h: h.log(1, b=torch.zeros(2, 2)), "b: expected a number or a 1-D tensor"),
        (lambda h: h.log(0, a=1.0), "a: expected one value per step"),
        (lambda h: h["c"], "name: expected one of a"),
        (lambda h: h.steps("c"), "name: expected one of a"),
        (lambda h: h.last("a", 0), "n: expected a whole number"),
        (lambda h: h.snapshot(0, p=[1]), "p: expected a torch.Tensor"),
    ],
)
def test_history_bad_input(bad, named):
    history = History()
    history.log(0, a=1.0)
    with pytest.raises(ValueError) as error:
        bad(history)
    assert named in str(error.value)
    assert history["a"].tolist() == [1.0]


def test_bar_and_resume_line(monkeypatch, capsys):
    monkeypatch.delenv("COURSE_STATIC")
    interrupt(30)
    assert "run:" in capsys.readouterr().err
    Run().train()
    out, err = capsys.readouterr()
    assert out == f"run: goes on after step 28 of 60. To begin anew, delete {file_of('run')}\n"
    assert "60/60" in err and "loss=" in err
    Run().train(progress=False)
    assert capsys.readouterr() == ("", "")


def test_a_static_notebook_has_no_bar_and_still_says_that_it_goes_on(capsys):
    interrupt(30)
    assert capsys.readouterr() == ("", "")
    Run().train()
    assert capsys.readouterr() == (f"run: goes on after step 28 of 60. To begin anew, delete {file_of('run')}\n", "")
    Run().train()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (dict(steps=0), "steps"),
        (dict(steps=2.5), "steps"),
        (dict(name="../up"), "name"),
        (dict(name=".hidden"), "name"),
        (dict(name=""), "name"),
        (dict(name=None), "name"),
        (dict(keep={}), "keep"),
        (dict(keep=dict(x=torch.zeros(2))), "keep['x']"),
        (dict(config=dict(f=object())), "config['f']"),
        (dict(config=[1]), "config"),
        (dict(checkpoint_seconds=0), "checkpoint_seconds"),
        (dict(checkpoint_steps=0), "checkpoint_steps"),
    ],
)
def test_loop_bad_input(change, named):
    arguments = dict(steps=3, name="x", keep=dict(G=net())) | change
    with pytest.raises(ValueError) as error:
        loop(arguments.pop("steps"), arguments.pop("name"), **arguments)
    assert str(error.value).startswith(f"{named}: expected")


def test_a_loop_runs_once_and_logs_in_its_body_only():
    run = loop(2, "x", keep=dict(G=net()))
    for call in (lambda: run.log(a=1), lambda: run.snapshot(a=torch.zeros(1))):
        with pytest.raises(ValueError, match="body"):
            call()
    assert list(run) == [0, 1]
    with pytest.raises(ValueError, match="loop: expected one for statement"):
        list(run)


# --- fit --------------------------------------------------------------------------------------------------


class Stops:
    """Cross entropy that raises KeyboardInterrupt once, at call ``at``."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, model, x, y):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return cross_entropy(model, x, y)

    def __repr__(self) -> str:
        return "stops"


@pytest.mark.parametrize("name", [None, "judge"])
def test_interrupted_fit_resumes(name):
    def train(at):
        model = net()
        history = fit(model, blobs(), loss=Stops(at), epochs=8, batch=20, name=name, checkpoint_steps=3)
        return [*model.parameters()], history, next_numbers()

    weights, history, numbers = train(0)
    assert len(history["loss"]) == 8 * (96 // 20)
    with pytest.raises(KeyboardInterrupt):
        train(19)
    (file,) = file_of("x").parent.iterdir()
    assert torch.load(file, weights_only=True)["done"] == 18
    resumed, again, after = train(0)
    assert same(resumed, weights) and same_history(again, history) and after == numbers
    assert not file.exists()


def start_fit(model=None, data=None, **change):
    settings = dict(loss=Stops(8), epochs=5, batch=16, checkpoint_steps=3, seed=1) | change
    with pytest.raises(KeyboardInterrupt):
        fit(model or net(), data or blobs(), **settings)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (dict(epochs=6), "epochs: saved 5, now 6"),
        (dict(batch=8), "batch: saved 16, now 8"),
        (dict(lr=0.5), "lr: saved 0.001, now 0.5"),
        (dict(seed=2), "seed: saved 1, now 2"),
        (dict(loss=cross_entropy), "loss: saved 'stops', now '<function cross_entropy>'"),
        (dict(optimizer=lambda p: torch.optim.SGD(p, lr=0.001)), "optimizer: saved Adam, now SGD"),
        (dict(data=blobs(seed=9)), "data: saved"),
        (dict(model=nn.Sequential(nn.Flatten(), nn.Linear(16, 3))), "model.1.weight"),
        (dict(mixed_precision=True), "precision: saved 'float32', now 'bfloat16'"),
    ],
)
def test_fit_by_name_refuses_another_configuration(change, named):
    start_fit(name="mine")
    settings = dict(loss=Stops(0), epochs=5, batch=16, seed=1, name="mine") | change
    model, data = settings.pop("model", net()), settings.pop("data", blobs())
    with pytest.raises(ValueError, match="another configuration") as refused:
        fit(model, data, **settings)
    assert named in str(refused.value)


def test_fit_without_a_name_never_takes_another_nets_checkpoint():
    start_fit()
    others = [dict(model=net(seed=1)), dict(data=blobs(seed=9)), dict(epochs=4), dict(lr=0.1), dict(seed=2)]
    for number, change in enumerate(others, start=2):
        start_fit(**change)
        assert len(list(file_of("x").parent.iterdir())) == number


def accuracy_on_new(labels_shuffled: bool) -> float:
    data = blobs()
    if labels_shuffled:
        order = torch.randperm(len(data), generator=torch.Generator().manual_seed(3))
        data = ImageSet(data.images, data.labels[order], data.classes, data.name)
    model = net(dropout=0.1)
    history = fit(model, data, epochs=20, batch=16, lr=0.01)
    assert len(history["loss"]) == 20 * 6 and history.seconds > 0
    return evaluate(model, blobs(seed=1)).accuracy


def test_fit_learns_and_shuffled_labels_teach_nothing():
    assert accuracy_on_new(labels_shuffled=False) > 0.95
    assert accuracy_on_new(labels_shuffled=True) < 0.6


def test_every_epoch_has_every_picture_once_in_another_order():
    data, seen = blobs(48), []
    numbered = (torch.arange(48) / 48).view(48, 1, 1, 1).expand(48, 1, 4, 4)
    marked = ImageSet(numbered, data.labels, data.classes, "marked")

    def loss(model, x, y):
        numbers = (x[:, 0, 0, 0] * 48).round().long()
        assert torch.equal(y, numbers % 3)
        seen.extend(numbers.tolist())
        return cross_entropy(model, x, y)

    fit(net(), marked, loss=loss, epochs=2, batch=16, seed=1)
    first, second = seen[:48], seen[48:]
    assert sorted(first) == sorted(second) == list(range(48)) and first != second
    seen.clear()
    fit(net(), marked, loss=loss, epochs=2, batch=16, seed=1)
    assert seen == first + second
    seen.clear()
    fit(net(), marked, loss=loss, epochs=2, batch=16, seed=2)
    assert seen[:48] != first and sorted(seen[:48]) == list(range(48))
    seen.clear()
    fit(net(), marked, loss=loss, epochs=1, batch=20)
    assert len(set(seen)) == len(seen) == 40


def test_fit_is_adam_written_out(monkeypatch):
    monkeypatch.setenv("COURSE_SEED", "4")
    data, mine, other = blobs(32), net(0.0), net(0.0)
    history = fit(mine, data, epochs=3, batch=32, lr=0.02)
    losses, adam = [], torch.optim.Adam(other.parameters(), lr=0.02)
    for _ in range(3):  # one batch is the whole data set: the order only changes the rounding
        losses.append(F.cross_entropy(other(data.images), data.labels))
        adam.zero_grad()
        losses[-1].backward()
        adam.step()
    torch.testing.assert_close(history["loss"].float(), torch.stack(losses).detach())
    for one, two in zip(mine.parameters(), other.parameters()):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize("training", [True, False])
def test_fit_trains_in_train_mode_in_place_and_restores_the_mode(training):
    model, modes = net(), []
    model.train(training)
    model[3].train(not training)

    def loss(net_, x, y):
        modes.append(model.training and model[3].training)
        return cross_entropy(net_, x, y)

    weight = model[1].weight
    fit(model, blobs(), loss=loss, epochs=1, batch=32)
    assert model[1].weight is weight and modes == [True] * 3
    assert model.training is training and model[3].training is not training
    with pytest.raises(KeyboardInterrupt):
        fit(model, blobs(), loss=Stops(1), epochs=1, batch=32)
    assert model.training is training and model[3].training is not training


def test_frozen_parameters_stay():
    model = net()
    model[1].requires_grad_(False)
    before = [p.clone() for p in model.parameters()]
    fit(model, blobs(), epochs=1, batch=32)
    moved = [not torch.equal(one, two) for one, two in zip(model.parameters(), before)]
    assert moved == [False, False, True, True]


def test_a_model_of_its_own_and_an_optimizer_of_its_own():
    made = []

    def optimizer(parameters):
        made.append(torch.optim.SGD(parameters, lr=0.1))
        return made[0]

    model = net(0.0)
    fit(model, blobs(), epochs=1, batch=96, optimizer=optimizer)
    written = net(0.0)
    F.cross_entropy(written(blobs().images), blobs().labels).backward()
    torch.testing.assert_close(model[1].weight, written[1].weight - 0.1 * written[1].weight.grad)
    assert len(made) == 1


def test_mixed_precision():
    types = []

    def loss(model, x, y):
        logits = model(x)
        types.append(logits.dtype)
        return F.cross_entropy(logits, y)

    model = net(0.1)
    history = fit(model, blobs(), loss=loss, epochs=20, batch=16, lr=0.01, mixed_precision=True)
    assert set(types) == {torch.bfloat16} and model[1].weight.dtype == torch.float32
    assert history["loss"].dtype == torch.float64 and evaluate(model, blobs(seed=1)).accuracy > 0.95
    for off in (None, False):
        types.clear()
        fit(net(), blobs(), loss=loss, epochs=1, batch=16, mixed_precision=off)
        assert set(types) == {torch.float32}


def test_the_check_of_the_model_leaves_batch_norm_alone():
    model = normed()
    fit(model, blobs(), epochs=3, batch=96)
    assert model[2].num_batches_tracked == 3


def with_images(images: torch.Tensor, labels: torch.Tensor | None = None) -> SimpleNamespace:
    """What an ImageSet would not let through."""
    labels = torch.arange(len(images)) % 3 if labels is None else labels
    return SimpleNamespace(images=images, labels=labels, classes=("a", "b", "c"))


BAD_DATA = [
    (with_images(torch.full((6, 1, 4, 4), 1.5)), "data.images: expected values in [0, 1]"),
    (with_images(torch.full((6, 1, 4, 4), math.nan)), "data.images: expected no NaN"),
    (with_images(torch.zeros(6, 4, 4)), "data.images: expected the shape (N, C, H, W)"),
    (with_images(torch.zeros(6, 1, 4, 4, dtype=torch.uint8)), "data.images: expected a floating point dtype"),
    (with_images(torch.zeros(0, 1, 4, 4)), "data.images: expected at least one picture"),
    (with_images(torch.zeros(6, 1, 4, 4), torch.arange(6)), "data.labels: expected class numbers from 0 to 2"),
    (with_images(torch.zeros(6, 1, 4, 4), torch.zeros(5, dtype=torch.int64)), "data.labels: expected the shape (6,)"),
    (torch.zeros(6, 1, 4, 4), "data: expected an ImageSet"),
]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (dict(model=lambda x: x), "model: expected a torch.nn.Module"),
        (dict(model=nn.Flatten()), "model: expected parameters"),
        (dict(model=nn.Sequential(nn.Flatten(), nn.Linear(16, 4))), "model: expected logits of the shape (2, 3)"),
        (dict(model=nn.Linear(4, 3)), "model: expected logits of the shape (2, 3)"),
        (dict(model=nn.Linear(9, 3)), "model: expected one for pictures (1, 4, 4)"),
        (dict(loss="mse"), "loss: expected"),
        (dict(loss=lambda m, x, y: F.cross_entropy(m(x), y, reduction="none")), "loss: expected one number"),
        (dict(loss=lambda m, x, y: F.cross_entropy(m(x), y).item()), "loss: expected one number"),
        (dict(epochs=0), "epochs: expected"),
        (dict(batch=0), "batch: expected"),
        (dict(batch=97), "batch: expected at most the 96 pictures"),
        (dict(lr=0), "lr: expected"),
        (dict(lr=math.nan), "lr: expected"),
        (dict(optimizer="adam"), "optimizer: expected"),
        (dict(seed=-1), "seed: expected"),
        (dict(name="a/b"), "name: expected"),
        (dict(mixed_precision="bf16"), "mixed_precision: expected"),
        (dict(checkpoint_steps=0), "checkpoint_steps: expected"),
        *((dict(data=data), named) for data, named in BAD_DATA),
    ],
)
def test_fit_bad_input(change, named):
    arguments = dict(model=net(), data=blobs(), epochs=1, batch=2 if "data" in change else 16) | change
    model = arguments.pop("model")
    with pytest.raises(ValueError) as error:
        fit(model, arguments.pop("data"), **arguments)
    assert str(error.value).startswith(named)
    if model is not change.get("model"):
        assert same([*model.parameters()], [*net().parameters()])


def test_the_check_of_the_model_draws_no_random_numbers():
    class Noisy(nn.Linear):
        def forward(self, x):
            return super().forward(x.flatten(1) + random.random() + torch.rand(()))

    torch.manual_seed(0), random.seed(0)
    expected = [random.random(), torch.rand(1).item()]
    torch.manual_seed(0), random.seed(0)
    drawn = []

    def loss(model, x, y):
        if not drawn:
            drawn.extend([random.random(), torch.rand(1).item()])
        return cross_entropy(model, x, y)

    weights = Noisy(16, 3)
    torch.manual_seed(0), random.seed(0)
    fit(weights, blobs(), loss=loss, epochs=1, batch=96)
    assert drawn == expected


# --- several processes ------------------------------------------------------------------------------------


def expect_as_in_one_process(out: Path) -> None:
    found, alone = torch.load(out, weights_only=True), fit_both()
    assert found["processes"] == 2 and alone["processes"] == 1
    assert found["refused"] == "batch: expected a multiple of the 2 processes, got 15" and alone["refused"] == ""
    first, second = found["buffers"]
    assert torch.equal(first, second) and first.abs().sum() > 0
    names = [name for name in alone if isinstance(alone[name], torch.Tensor)]
    assert len(names) == 2 * 5
    for name in names:
        torch.testing.assert_close(found[name], alone[name], rtol=1e-4, atol=1e-6)


def test_two_processes_of_torchrun(tmp_path):
    out = tmp_path / "out.pt"
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", 2)
    errors = expect_success(child(*launcher, SCRIPT, "processes", out))
    assert "broadcast_buffers" not in errors and "FutureWarning" not in errors
    expect_as_in_one_process(out)


def test_two_processes_of_notebook_launcher(tmp_path):
    out = tmp_path / "out.pt"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    expect_success(child(SCRIPT, "notebook", out, port))
    expect_as_in_one_process(out)


# --- evaluate ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("correct", "total"), [(350, 360), (0, 10), (10, 10), (1, 1), (57, 100)])
def test_wilson_interval_solves_its_equation(correct, total):
    found, share = Evaluation(correct, total), correct / total
    for end in (found.low, found.high):  # the ends are the p with |share - p| = z sqrt(p (1 - p) / n)
        assert abs(share - end) == pytest.approx(1.959964 * math.sqrt(end * (1 - end) / total), abs=1e-6)
    assert 0 <= found.low <= share <= found.high <= 1 and found.low < found.high
    assert found.accuracy == share and found.error == pytest.approx(1 - share)


def test_evaluation_text():
    assert str(Evaluation(350, 360)) == "97.2 % (95.0 to 98.5, n=360)"
    with pytest.raises(AttributeError):
        Evaluation(1, 2).correct = 2


def bright_row(x):
    return x.sum((1, 3))[:, :3]


def test_evaluate_counts():
    data = blobs(90)
    assert evaluate(bright_row, data).correct == (bright_row(data.images).argmax(1) == data.labels).sum()
    wrong = ImageSet(data.images, (data.labels + 1) % 3, data.classes, "wrong")
    assert evaluate(bright_row, data).accuracy > 0.9 and evaluate(bright_row, wrong).accuracy < 0.1
    for batch in (1, 7, 90, 1000):
        assert evaluate(bright_row, data, batch=batch) == evaluate(bright_row, data)


def against(model, x, y):
    """Hides the true row, after a gradient that leaves its marks wherever it can."""
    x.requires_grad_()
    F.cross_entropy(model(x), y).backward()
    assert x.grad is not None
    hidden = x.detach()
    hidden[torch.arange(len(x)), :, y] = 0
    return hidden


def test_evaluate_leaves_the_model_as_it_was():
    model, data = net(), blobs()
    F.cross_entropy(model(data.images), data.labels).backward()
    model[3].eval()
    model[4].bias.requires_grad_(False)
    modules = [part.training for part in model.modules()]
    gradients = [p.grad.clone() for p in model.parameters()]
    pictures = data.images.clone()
    during = []

    def attack(net_, x, y):
        during.append(any(part.training for part in net_.modules()))
        return against(net_, x, y)

    def expect_as_before():
        assert [part.training for part in model.modules()] == modules
        assert same([p.grad for p in model.parameters()], gradients)
        assert [p.requires_grad for p in model.parameters()] == [True, True, True, False]
        assert torch.equal(data.images, pictures)

    with torch.no_grad():
        evaluate(model, data, attack)
    assert during == [False]
    expect_as_before()
    for broken in (lambda m, x, y: 1 / 0, lambda m, x, y: x + 2):
        with pytest.raises((ZeroDivisionError, ValueError)):
            evaluate(model, data, broken)
        expect_as_before()


def test_evaluate_keeps_the_data_whole_whatever_model_and_attack_do_to_their_copies():
    data = blobs()
    images, labels = data.images.clone(), data.labels.clone()

    def shifty(model, x, y):
        y.add_(1).remainder_(3)
        return x

    right = evaluate(bright_row, data)
    assert evaluate(lambda x: bright_row(x.sub_(0.5).add_(0.5)), data) == right and evaluate(bright_row, data, shifty) == right
    assert torch.equal(data.images, images) and torch.equal(data.labels, labels)


def test_a_net_trained_within_an_attack_is_trained_and_one_within_a_function_rests():
    seen = []

    def trains(model, x, y):
        other = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, 3))
        other.register_forward_pre_hook(lambda module, _: seen.append(module.training))  # fit looks once in eval mode
        fit(other, blobs(), epochs=1, batch=32)
        return x

    model = net().train()
    before = [value.clone() for value in model.state_dict().values()]
    evaluate(lambda x: model(x), blobs(), trains)
    assert sum(seen) >= 3 and model.training and same(list(model.state_dict().values()), before)


def test_evaluate_under_attack():
    model = net(0.1)
    fit(model, blobs(), epochs=20, batch=16, lr=0.01)
    assert evaluate(model, blobs()).accuracy > 0.95
    assert evaluate(model, blobs(), against, batch=32).accuracy < 0.2


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (dict(model=3), "model: expected a function"),
        (dict(attack=3), "attack: expected"),
        (dict(batch=0), "batch: expected"),
        (dict(model=lambda x: bright_row(x)[:, :2]), "model: expected logits of the shape (96, 3)"),
        (dict(model=lambda x: bright_row(x) * math.nan), "model: expected logits without NaN"),
        (dict(model=lambda x: 3.0), "model: expected a torch.Tensor"),
        (dict(attack=lambda m, x, y: x[:5]), "attack(model, x, y): expected the shape (96, 1, 4, 4)"),
        (dict(attack=lambda m, x, y: x + 0.5), "attack(model, x, y): expected values in [0, 1]"),
        (dict(attack=lambda m, x, y: x * math.nan), "attack(model, x, y): expected no NaN"),
        (dict(attack=lambda m, x, y: x * math.inf), "attack(model, x, y): expected"),
        (dict(attack=lambda m, x, y: None), "attack(model, x, y): expected a torch.Tensor"),
        *((dict(data=data), named) for data, named in BAD_DATA),
    ],
)
def test_evaluate_bad_input(change, named):
    arguments = dict(model=bright_row, data=blobs(), attack=None) | change
    with pytest.raises(ValueError) as error:
        evaluate(arguments.pop("model"), arguments.pop("data"), **arguments)
    assert str(error.value).startswith(named)
