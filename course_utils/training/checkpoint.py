"""Checkpoints on disk: written whole or not at all, read without running any pickled code."""
from __future__ import annotations

import io
import os
import random
import re
import warnings
import zipfile
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from course_utils import runtime
from course_utils.validate import expect

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def checkpoint_path(name: str) -> Path:
    """The file of the training called ``name``: ``<data_dir>/checkpoints/<name>.pt``.

    Raises ValueError unless ``name`` is made of at most 100 letters, digits, '.', '_' and '-',
    and begins with a letter or a digit.
    """
    safe = isinstance(name, str) and _NAME.fullmatch(name)
    expect(safe, "name", "a file name of letters, digits, '.', '_' and '-', at most 100", repr(name))
    return runtime.data_dir() / "checkpoints" / f"{name}.pt"


def save(path: Path, state: dict) -> None:
    """Write ``state`` to ``path``. When anything stops the writing, what was at ``path`` before stays as it was.

    Raises OSError when the disk is full or can't be written to.
    """
    packed = io.BytesIO()
    torch.save(state, packed)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with open(unfinished, "wb") as file:
            file.write(packed.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:  # a full disk, but the stop button as well
        unfinished.unlink(missing_ok=True)
        raise


def load(path: Path, parts: set[str]) -> dict | None:
    """Read a dict with the keys ``parts`` that ``save`` wrote, every tensor on the CPU.

    None where there is no file, or only a damaged one. Warns about a damaged file, by name.
    """
    try:
        packed = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            if part := archive.testzip():  # torch.load itself would not notice a changed byte
                raise ValueError(f"the part {part} has changed")
        state = torch.load(io.BytesIO(packed), map_location="cpu", weights_only=True)
        if state.keys() != parts:
            raise ValueError(f"it holds {', '.join(map(str, state))}")
    except Exception as reason:  # torch, zipfile and pickle each have several errors for bytes they can't use
        warnings.warn(f"the checkpoint {path} is damaged ({reason}): it is removed, training starts anew", stacklevel=2)
        return None
    return state


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


def is_main_process() -> bool:
    """Whether this process is the one that writes and prints: the only one, or the first of several."""
    return int(os.environ.get("RANK", "0")) == 0  # set by torchrun and notebook_launcher


def wait_for_all() -> None:
    """Wait until every process of this training has come here. Returns at once when there is only one."""
    if dist.is_available() and dist.is_initialized():
        dist.barrier()
