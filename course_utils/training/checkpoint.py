"""Checkpoints on disk: written whole or not at all, read without running any pickled code."""
from __future__ import annotations

import hashlib
import io
import os
import random
import re
import textwrap
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from course_utils import runtime
from course_utils.training.processes import rank_and_count
from course_utils.validate import expect

_ARRAY = "array of numpy"  # the key of a tensor that stands for one
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def checkpoint_path(name: str) -> Path:
    """The file of the training called ``name``: ``<data_dir>/checkpoints/<name>.pt``.

    Raises ValueError unless ``name`` is made of at most 100 letters, digits, '.', '_' and '-',
    and begins with a letter or a digit.
    """
    safe = isinstance(name, str) and _NAME.fullmatch(name)
    expect(safe, "name", "a file name of letters, digits, '.', '_' and '-', at most 100", repr(name))
    return runtime.data_dir() / "checkpoints" / f"{name}.pt"


class Unreadable(ValueError):
    """A state that can't be written, or could not be read back without running pickled code; the message says why."""


def save(path: Path, state: dict, *, proven: bool = False) -> None:
    """Write ``state`` to ``path``. When anything stops the writing, what was at ``path`` before stays as it was.

    What could not be read back is never written: the bytes are read once before, unless such a state is ``proven``
    readable already. Raises Unreadable then, and OSError when the disk is full or can't be written to.
    """
    packed = _packed(state)
    if not proven:
        _expect_readable(packed)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with open(unfinished, "wb") as file:
            file.write(packed)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:  # a full disk, but the stop button as well
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise


def expect_savable(state: object) -> None:
    """Raise Unreadable unless ``state`` can be written and read back. No tensor of it is copied or waited for."""
    _expect_readable(_packed(state, _without_values))


def _packed(state: object, *changes: Callable[[object], object]) -> memoryview:
    packed = io.BytesIO()
    try:
        for change in (*changes, _without_numpy):
            state = _changed(state, change)
        torch.save(state, packed)
    except Exception as reason:  # pickle has several errors for what it can't write
        raise Unreadable(f"{type(reason).__name__}: {reason}") from reason
    return packed.getbuffer()


def _expect_readable(packed: bytes | memoryview) -> None:
    """Raise Unreadable unless ``_read`` reads ``packed``."""
    try:
        _read(packed)
    except Exception as reason:
        why = str(reason).partition("WeightsUnpickler error: ")[2] or str(reason)  # torch's advice comes before it
        raise Unreadable(textwrap.shorten(why, 150)) from reason


def _read(packed: bytes | memoryview) -> object:
    state = torch.load(io.BytesIO(packed), map_location="cpu", weights_only=True)
    return _changed(state, _with_numpy)


def _changed(state: object, change: Callable[[object], object]) -> object:
    """``state`` with ``change`` made to everything in its containers; those without a change are the same objects."""
    state = change(state)
    if type(state) in (dict, OrderedDict):
        parts = [(_changed(key, change), _changed(value, change)) for key, value in state.items()]
        kept = all(new[0] is old[0] and new[1] is old[1] for new, old in zip(parts, state.items()))
        return state if kept else dict(parts)
    if type(state) in (list, tuple):
        parts = [_changed(part, change) for part in state]
        return state if all(new is old for new, old in zip(parts, state)) else type(state)(parts)
    return state


def _without_numpy(part: object) -> object:
    """Numbers of numpy as plain ones and its arrays as tensors: the reading knows neither."""
    if isinstance(part, np.generic):
        return part.item()
    if isinstance(part, np.ndarray) and part.dtype.kind in "biufc":
        return {_ARRAY: torch.from_numpy(np.array(part))}
    return part


def _with_numpy(part: object) -> object:
    return part[_ARRAY].numpy() if isinstance(part, dict) and part.keys() == {_ARRAY} else part


def _without_values(part: object) -> object:
    plain = type(part) in (Tensor, nn.Parameter) and not part.is_quantized
    return torch.empty(0, dtype=part.dtype, device="cpu") if plain else part


def load(
    path: Path, parts: set[str], kind: str = "checkpoint", then: str = "it is removed, training starts anew"
) -> dict | None:
    """Read a dict with the keys ``parts`` that ``save`` wrote, every tensor on the CPU.

    None where there is no file, or only a damaged one. Warns about a damaged file, by name: what ``kind`` of file
    it is, and what is done ``then``. Raises OSError for a file that can't be read at all.
    """
    try:
        packed = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            if part := archive.testzip():  # torch.load itself would not notice a changed byte
                raise ValueError(f"the part {part} has changed")
        state = _read(packed)
        if state.keys() != parts:
            raise ValueError(f"it holds {', '.join(map(str, state))}")
    except Exception as reason:  # torch, zipfile and pickle each have several errors for bytes they can't use
        warnings.warn(f"the {kind} {path} is damaged ({reason}): {then}", stacklevel=2)
        return None
    return state


def remove(path: Path, name: str) -> None:
    """Delete the checkpoint of the training ``name``. Warns where the file is there and can't be deleted."""
    try:
        path.unlink(missing_ok=True)
    except OSError as reason:
        warnings.warn(f"{name}: the checkpoint {path} could not be removed ({reason}).")


def random_state() -> dict:
    """The state of every global random stream: python, numpy, torch on the CPU, on CUDA where it is in use, and on Apple's GPU."""
    kind, key, position, has_gauss, gauss = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(key.astype(np.int64)), int(position), int(has_gauss), float(gauss)),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "mps": [torch.mps.get_rng_state()] if torch.backends.mps.is_available() else [],
    }


def seed_global_streams(seed: int) -> None:
    """Begin torch's global streams at ``seed``, on every device in use. (torch.manual_seed would also leave it for a CUDA not yet in use.)"""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)


def set_random_state(state: dict) -> None:
    """Put every global random stream back to what ``random_state`` returned."""
    random.setstate(state["python"])
    kind, key, *rest = state["numpy"]
    np.random.set_state((kind, key.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    for index, saved in enumerate(state["cuda"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(saved, index)
    for saved in state.get("mps", []):  # a checkpoint may come from elsewhere
        if torch.backends.mps.is_available():
            torch.mps.set_rng_state(saved)


def set_random_state_of(state: dict, rank: int) -> None:
    """Go on from the first process's ``random_state``: itself as if nothing had been, the others with streams of their own.

    Nobody saved those. They begin at a seed made of the first one's state and their ``rank``: all the same would mean
    the same dropout everywhere.
    """
    set_random_state(state)
    if rank > 0:
        digest = hashlib.sha256(state["torch"].numpy().tobytes() + str(rank).encode()).digest()
        seed = int.from_bytes(digest[:4], "big")
        random.seed(seed)
        np.random.seed(seed)
        seed_global_streams(seed)


def is_main_process() -> bool:
    """Whether this process is the one that writes and prints: the only one, or the first of several."""
    return rank_and_count()[0] == 0


def wait_for_all() -> None:
    """Wait until every process of this training has come here. Returns at once when there is only one."""
    if dist.is_available() and dist.is_initialized():
        dist.barrier()
