"""Data sets on disk: one ``<name>.npz`` each, below ``runtime.data_dir()``."""
from __future__ import annotations

import itertools
import os
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from course_utils import runtime
from course_utils.data.arrays import KERAS, KEYS, Arrays, check, from_keras

# What numpy and zipfile were seen to raise over files with bytes changed, cut off or left out.
_UNREADABLE = (ValueError, TypeError, EOFError, OSError, RuntimeError, zipfile.BadZipFile, zlib.error)


def path_of(name: str) -> Path:
    """Where the data set ``name`` is kept."""
    return runtime.data_dir() / f"{name}.npz"


def get(name: str, fetch: Callable[[str], Arrays]) -> Arrays:
    """The arrays of ``name``: from its file, else from ``fetch(name)``, which are then written to the file.

    A file that was put there by hand is used as it is, one of Keras's too. One that can't be used is never removed: a
    warning names it, and it gets another name once what was fetched takes its place. Raises what ``fetch`` raises, and
    OSError where the file can't be written.
    """
    path, aside = path_of(name), None
    if path.exists():
        try:
            return read(path)
        except ValueError as error:
            aside = not_used(path, str(error))
    arrays = fetch(name)
    write(path, arrays, aside)
    return arrays


def not_used(path: Path, reason: str) -> Path:
    """Warn that the file at ``path`` is not used and why; return the name that it is to have when another takes its place."""
    taken = (path.with_name(f"{path.name}.unused-{number}") for number in itertools.count(1))
    aside = next(name for name in taken if not name.exists())
    warnings.warn(f"{path} can't be used ({reason}): it is fetched, and the file that lies there will then be called {aside.name}", stacklevel=3)
    return aside


def read(path: Path) -> Arrays:
    """The arrays in ``path``, checked: those of ``arrays.KEYS`` or Keras's own. Nothing in the file is unpickled.

    Raises ValueError when it is damaged or in another format, OSError when it can't be opened.
    """
    with open(path, "rb") as file:
        try:
            with np.load(file, allow_pickle=False) as stored:
                arrays = {key: stored[key] for key in KEYS + KERAS if key in stored}
        except _UNREADABLE as error:
            reason = f"{type(error).__name__}: {error}"
            raise ValueError(f"expected a complete .npz without pickles, got {reason}") from error
    if set(KERAS) <= arrays.keys():
        arrays = from_keras(arrays, path.stem)
    check(arrays)
    return arrays


def write(path: Path, arrays: Arrays, aside: Path | None = None) -> None:
    """Put ``arrays`` into ``path`` whole or not at all: a failure or an interrupt leaves what was there before.

    With ``aside`` the file that was there before gets that name, without it is replaced. Raises ValueError when ``arrays`` are not in the format, OSError when the folder can't be written or is full.
    """
    check(arrays)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    with writing(path):
        try:
            with open(unfinished, "wb") as file:
                np.savez(file, **arrays)
                file.flush()
                os.fsync(file.fileno())
            if aside:
                os.rename(path, aside)
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)  # there only if something went wrong


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Make the folder of ``path``; turn an OSError there or inside into one that says what could not be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise OSError(
            error.errno,
            f"{path} could not be written ({error.strerror or error}); a file that was there before is unchanged. "
            "Make room, or set COURSE_DATA_DIR to a folder that can be written",
        ) from error
