"""The steps of a training, for a ``for`` statement: checkpoints, resume, progress, and a stop at NaN."""
from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from course_utils.training import checkpoint, code
from course_utils.training.history import History
from course_utils.training.processes import rank_and_count
from course_utils.training.settings import describe, differences, from_other_python, tensors_in
from course_utils.validate import expect, expect_count, expect_positive

_FLUSH = 50  # steps between two looks at what was logged: the only times a training waits for the device


class TrainingDiverged(RuntimeError):
    """A logged value or a weight became NaN or infinite. ``name``, ``step`` and ``run`` say which and when.

    ``run`` is None outside a stack of runs.
    """

    def __init__(self, message: str, name: str, step: int, run: int | None) -> None:
        super().__init__(message)
        self.name, self.step, self.run = name, step, run


class loop:  # lower case, as range is: it stands in a for statement
    """The steps 0 … ``steps``-1, interruptible::

        run = loop(2000, "ring-gan", keep=dict(G=G, D=D, opt_g=opt_g, opt_d=opt_d), config=dict(k=k))
        for step in run:
            ...
            run.log(d_loss=d_loss, g_loss=g_loss)
        history = run.history

    While the steps go on, everything in ``keep``, the history and the random state of python, numpy and
    torch go to ``<data_dir>/checkpoints/<name>.pt`` from time to time, always between two steps. When the
    loop is stopped (the stop button, an error, a lost machine), the same cell run again goes on from
    there and ends with the same weights, bit for bit on the CPU, as if it had never been stopped; a line
    says so. What the body of the ``for`` does is not looked at: whoever edits it deletes the file.
    In several processes only the first goes on with its random state, the others begin streams of their own.
    When the last step is done the file is deleted: a finished cell that is run again trains again.

    name                letters, digits, '.', '_' and '-': the name of the file, and of the progress bar
    keep                by name, all that changes while training: anything with state_dict and
                        load_state_dict, or a torch.Generator
    config              by name, the settings that make this training what it is: numbers, text, lists,
                        tuples and dicts of them, or functions, which count by their code and what they name
    checkpoint_seconds  time between two checkpoints
    checkpoint_steps    steps between two checkpoints, instead of a time
    progress            whether to draw a bar; none is drawn when COURSE_STATIC is set

    Raises ValueError for bad arguments and, when the ``for`` begins, for a checkpoint of the same name
    whose steps, ``config`` or kept objects are others. Raises ``TrainingDiverged`` at a NaN or infinity.
    """

    def __init__(
        self,
        steps: int,
        name: str,
        *,
        keep: dict[str, object],
        config: dict[str, object] | None = None,
        checkpoint_seconds: float = 10.0,
        checkpoint_steps: int | None = None,
        progress: bool = True,
    ) -> None:
        expect_count(steps, "steps")
        self.path = checkpoint.checkpoint_path(name)
        expect_positive(checkpoint_seconds, "checkpoint_seconds")
        if checkpoint_steps is not None:
            expect_count(checkpoint_steps, "checkpoint_steps")
        _expect_keepable(keep)
        self.steps, self.name, self.history = steps, name, History()
        self._keep = dict(keep)
        self._settings = describe(steps, {} if config is None else config, keep)
        self._every_seconds, self._every_steps = checkpoint_seconds, checkpoint_steps
        self._progress = progress and not os.environ.get("COURSE_STATIC")
        self._step: int | None = None  # the step whose body is running
        self._saved: int | None = None  # how many steps the file on disk has behind it
        self._writes = self._proven = False  # whether there will be checkpoints, and whether one was read back
        self._foreign = False  # whether the file is somebody's who doesn't let it be read
        self._started = False

    def __iter__(self) -> Iterator[int]:
        expect(not self._started, "loop", "one for statement over it", "a second: make a new loop()")
        self._started = True
        main = checkpoint.is_main_process()
        first = self._resume()
        self._writes = main and not self._foreign and self._can_be_kept()
        earlier, began = self.history.seconds, time.perf_counter()
        bar = tqdm(initial=first, total=self.steps, desc=self.name, disable=not (self._progress and main))
        written = began
        try:
            for step in range(first, self.steps):
                self._step = step
                yield step
                self._step = None
                now = time.perf_counter()
                self.history.seconds = earlier + now - began
                bar.update()
                done = step + 1
                if done % _FLUSH == 0 or done == self.steps:
                    self._look(bar)
                if done < self.steps and self._due(done, now - written):
                    self._stop_if_diverged(step)
                    if self._writes:
                        self._save(done)
                    written = time.perf_counter()
            self._stop_if_diverged(self.steps - 1)
        finally:
            self._step = None
            bar.close()
        if main and not self._foreign:
            checkpoint.remove(self.path, self.name)

    def log(self, /, **values: float | Tensor) -> None:
        """Put this step's numbers into the history: scalars, or 1-D tensors with one number per run of a stack.

        Without waiting for the device. Raises ValueError for other shapes and outside the loop's body.
        """
        self._expect_in_body("log")
        self.history.log(self._step, **values)

    def snapshot(self, /, **tensors: Tensor) -> None:
        """Keep copies of ``tensors`` with this step in the history. Raises ValueError outside the loop's body."""
        self._expect_in_body("snapshot")
        self.history.snapshot(self._step, **tensors)

    def _expect_in_body(self, method: str) -> None:
        expect(self._step is not None, method, "a call in the body of the for statement", "one outside it")

    def _due(self, done: int, seconds: float) -> bool:
        return seconds >= self._every_seconds if self._every_steps is None else done % self._every_steps == 0

    def _look(self, bar: tqdm) -> None:
        """Check what was logged, and show the means of the last steps beside the bar."""
        self._stop_if_non_finite()
        recent = {name: f"{self.history.last(name, _FLUSH).mean():.3g}" for name in self.history}
        bar.set_postfix(recent, refresh=False)

    def _stop_if_non_finite(self) -> None:
        self.history.flush()
        if self.history.non_finite:
            name, step, run = self.history.non_finite
            which = "" if run is None else f" in run {run} of the stack (the first is 0)"
            raise self._diverged(f"{name} became NaN or infinite at step {step}{which}", name, step, run)

    def _stop_if_diverged(self, step: int) -> None:
        """Check what was logged and, as a finite loss can still give infinite gradients, every kept weight."""
        self._stop_if_non_finite()
        for name, weight in _weights(self._keep):
            if weight.is_floating_point() and not torch.isfinite(weight).all():
                raise self._diverged(f"{name} was found NaN or infinite after step {step}", name, step, None)

    def _diverged(self, what: str, name: str, step: int, run: int | None) -> TrainingDiverged:
        good = "none yet" if self._saved is None else f"{self.path}, after {self._saved} steps"
        advice = "" if self._saved is None else ". To train with other settings, delete it or use another name"
        message = f"{self.name}: {what}. Last good checkpoint: {good}{advice}."
        return TrainingDiverged(message, name, step, run)

    def _save(self, done: int) -> None:
        state = {
            "settings": self._settings,
            "done": done,
            "kept": {name: _state_of(thing) for name, thing in self._keep.items()},
            "history": self.history.state_dict(),
            "random": checkpoint.random_state(),
        }
        older = "there is none yet" if self._saved is None else f"the one after {self._saved} steps stays"
        try:
            checkpoint.save(self.path, state, proven=self._proven)
            self._saved, self._proven = done, True
        except OSError as reason:
            warnings.warn(f"{self.name}: no checkpoint could be written ({reason}); {older}. Training goes on.")
        except checkpoint.Unreadable as reason:
            self._writes = False
            warnings.warn(f"{self.name}: a checkpoint could not be read back ({reason}), so none is written; {older}. "
                          "Training goes on.")

    def _can_be_kept(self) -> bool:
        """Whether the state of every kept object, as far as it has one yet, can be read back from a file. Warns by name."""
        for name, thing in self._keep.items():
            try:
                checkpoint.expect_savable(_state_of(thing))
            except checkpoint.Unreadable as reason:
                warnings.warn(f"{self.name}: the state of keep[{name!r}] ({type(thing).__name__}) could not be read back "
                              f"from a checkpoint ({reason}). None is written: this training can't be resumed.")
                return False
        return True

    def _load(self) -> dict | None:
        try:
            return checkpoint.load(self.path, {"settings", "done", "kept", "history", "random"})
        except OSError as reason:
            self._foreign = True
            warnings.warn(f"{self.name}: the checkpoint {self.path} can't be read ({reason}). Training starts anew and "
                          "writes none.")
            return None

    def _resume(self) -> int:
        """Load the checkpoint, if there is one of this configuration; return how many steps are done."""
        checkpoint.wait_for_all()  # the first process may still be deleting the file of the training before
        state = self._load()
        checkpoint.wait_for_all()  # all have read it: from here on the first process may change it
        rank, _ = rank_and_count()
        if state is None:
            if rank == 0 and not self._foreign:
                checkpoint.remove(self.path, self.name)  # damaged
            return 0
        if differ := differences(state["settings"], self._settings):
            raise ValueError(
                f"name: the checkpoint {self.path} belongs to another configuration ({differ}). "
                "Delete that file to train anew, or use another name."
            )
        if from_other_python(state["settings"]):
            code.warn_of_other_python(self.name, self.path)
            return 0
        for name, thing in self._keep.items():
            _load_into(thing, state["kept"][name])
        self.history.load_state_dict(state["history"])
        checkpoint.set_random_state_of(state["random"], rank)
        self._saved = state["done"]
        if rank == 0:  # in a static notebook too: nobody sees the loop's body change
            print(f"{self.name}: goes on after step {self._saved} of {self.steps}. To begin anew, delete {self.path}")
        return self._saved


def _expect_keepable(keep: object) -> None:
    named = isinstance(keep, dict) and len(keep) > 0
    expect(named, "keep", "a dict of the objects that training changes, by name", repr(keep))
    for name, thing in keep.items():
        pair = callable(getattr(thing, "state_dict", None)) and callable(getattr(thing, "load_state_dict", None))
        usable = isinstance(thing, torch.Generator) or pair
        expect(usable, f"keep[{name!r}]", "state_dict and load_state_dict, or a torch.Generator", type(thing).__name__)


def _state_of(thing: object) -> object:
    return thing.get_state() if isinstance(thing, torch.Generator) else thing.state_dict()


def _load_into(thing: object, state: object) -> None:
    if isinstance(thing, torch.Generator):
        thing.set_state(state)
    else:
        thing.load_state_dict(state)


def _weights(keep: dict[str, object]) -> Iterator[tuple[str, Tensor]]:
    """The parameters of kept modules (a buffer may rightly hold infinities), and every tensor of the rest."""
    for name, thing in keep.items():
        if isinstance(thing, nn.Module):
            yield from thing.named_parameters(prefix=name)
        elif not isinstance(thing, torch.Generator):
            yield from tensors_in(thing.state_dict(), name)
