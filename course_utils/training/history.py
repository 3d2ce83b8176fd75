"""What a training logged: numbers per step, and snapshots."""
from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from course_utils.validate import expect, expect_choice, expect_count


class History:
    """Numbers logged per step, and tensors kept with the step at which they were taken.

    ``history["loss"]`` is a float64 tensor on the CPU, (steps,) or (steps, runs) for a stack of runs.
    ``history.steps("loss")`` are the steps at which it was logged, (steps,) int64.
    ``history.snapshots["samples"]`` and ``history.snapshot_steps["samples"]`` are two lists of one length.
    ``history.seconds`` is the time spent training, interruptions left out.
    ``history.non_finite`` is None, or the first (name, step, run) that was NaN or infinite;
    run is None where one number a step was logged.
    """

    def __init__(self) -> None:
        self.snapshots: dict[str, list[Tensor]] = {}
        self.snapshot_steps: dict[str, list[int]] = {}
        self.seconds = 0.0
        self.non_finite: tuple[str, int, int | None] | None = None
        self._values: dict[str, list[Tensor]] = {}  # chunks, on the CPU
        self._steps: dict[str, list[int]] = {}
        self._shapes: dict[str, torch.Size] = {}
        self._waiting: dict[str, list[Tensor]] = {}  # logged since the last flush, wherever they were computed

    def log(self, step: int, /, **values: float | Tensor) -> None:
        """Add one row per name: a number, or a 1-D tensor with one number per run of a stack.

        Nothing waits for the device here. Raises ValueError for another shape, for a shape that is not
        that of the steps before, and for a name that has a value for this step already.
        """
        rows = {}
        for name, value in values.items():
            tensor = isinstance(value, Tensor)
            row = value.detach().clone() if tensor else torch.as_tensor(value, dtype=torch.float64, device="cpu")
            shape = self._shapes.get(name, row.shape)
            expect(row.ndim <= 1, name, "a number or a 1-D tensor", f"the shape {tuple(row.shape)}")
            expect(row.shape == shape, name, f"the shape {tuple(shape)} as before", f"the shape {tuple(row.shape)}")
            again = name in self._steps and self._steps[name][-1] >= step
            expect(not again, name, "one value per step", f"a second one for step {step}")
            rows[name] = row
        for name, row in rows.items():
            self._shapes[name] = row.shape
            self._steps.setdefault(name, []).append(step)
            self._waiting.setdefault(name, []).append(row)

    def snapshot(self, step: int, /, **tensors: Tensor) -> None:
        """Keep copies of ``tensors``, any shape and dtype, on the CPU."""
        for name, tensor in tensors.items():
            expect(isinstance(tensor, Tensor), name, "a torch.Tensor", type(tensor).__name__)
        for name, tensor in tensors.items():
            self.snapshots.setdefault(name, []).append(tensor.detach().to("cpu", copy=True))
            self.snapshot_steps.setdefault(name, []).append(step)

    def flush(self) -> None:
        """Fetch what was logged since the last flush from the device; set ``non_finite`` if need be."""
        found = []
        for name, rows in self._waiting.items():
            if len({(row.device, row.dtype) for row in rows}) > 1:
                rows = [row.cpu().double() for row in rows]
            chunk = torch.stack(rows).cpu().double()
            self._values.setdefault(name, []).append(chunk)
            bad = (~torch.isfinite(chunk)).nonzero()
            if len(bad):
                row, *run = bad[0].tolist()
                step = self._steps[name][row - len(rows)]
                found.append((step, name, run[0] if run else None))
        self._waiting = {}
        if found and self.non_finite is None:
            step, name, run = min(found, key=lambda one: one[0])
            self.non_finite = (name, step, run)

    def __iter__(self) -> Iterator[str]:
        return iter(self._steps)

    def __contains__(self, name: object) -> bool:
        return name in self._steps

    def __getitem__(self, name: str) -> Tensor:
        expect_choice(name, "name", tuple(self))
        self.flush()
        self._values[name] = [torch.cat(self._values[name])]
        return self._values[name][0]

    def steps(self, name: str) -> Tensor:
        """The steps at which ``name`` was logged, (steps,) int64."""
        expect_choice(name, "name", tuple(self))
        return torch.tensor(self._steps[name], device="cpu")

    def last(self, name: str, n: int) -> Tensor:
        """The mean over the last ``n`` values of ``name`` (over all of them where there are fewer): () or (runs,)."""
        expect_count(n, "n")
        return self[name][-n:].mean(0)

    def state_dict(self) -> dict:
        """Everything as plain containers, numbers and tensors."""
        values = {name: self[name] for name in self}
        return {
            "values": values,
            "steps": {name: list(steps) for name, steps in self._steps.items()},
            "snapshots": {name: list(kept) for name, kept in self.snapshots.items()},
            "snapshot_steps": {name: list(steps) for name, steps in self.snapshot_steps.items()},
            "seconds": self.seconds,
        }

    def load_state_dict(self, state: dict) -> None:
        """Become the history that ``state`` was taken of."""
        self.__init__()
        self._values = {name: [value] for name, value in state["values"].items()}
        self._steps = {name: list(steps) for name, steps in state["steps"].items()}
        self._shapes = {name: value.shape[1:] for name, value in state["values"].items()}
        self.snapshots = {name: list(kept) for name, kept in state["snapshots"].items()}
        self.snapshot_steps = {name: list(steps) for name, steps in state["snapshot_steps"].items()}
        self.seconds = state["seconds"]

    def __repr__(self) -> str:
        logged = ", ".join(f"{name} {tuple(self[name].shape)}" for name in self)
        kept = ", ".join(f"{len(tensors)} x {name}" for name, tensors in self.snapshots.items())
        return f"History({logged or 'empty'}{'; snapshots: ' + kept if kept else ''}; {self.seconds:.1f} s)"
