"""Where the course runs: device, seed, profile, folders. Numbers only; nothing here trains or draws.

Environment variables, all optional:

``COURSE_SEED``        base seed of everything random, 0 unless set
``COURSE_PROFILE``     ``quick`` (default: embedded data, a CPU, no network) or ``full`` (downloads, a GPU)
``COURSE_DEVICE``      ``cuda``, ``cuda:1``, ``mps`` or ``cpu`` instead of the best one found
``COURSE_DATA_DIR``    folder of downloads, trained judges and checkpoints
``COURSE_BUILD_DIR``   folder of records and rendered notebooks
``COURSE_STATIC``      anything: still pictures instead of explorers, and no progress bars
"""
from __future__ import annotations

import ctypes
import hashlib
import json
import os
import random
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import platformdirs
import torch

from course_utils import precision
from course_utils.validate import expect, expect_choice, expect_count

PROFILES = ("quick", "full")
_PACKAGE = Path(__file__).resolve().parent


def device() -> torch.device:
    """The device to compute on: ``COURSE_DEVICE``, else CUDA, else MPS, else the CPU.

    CUDA is not initialised: processes that ``notebook_launcher`` forks later couldn't use it. Raises ValueError when
    ``COURSE_DEVICE`` names none of them or one that this machine lacks.
    """
    found = {"cuda": _gpus(), "mps": torch.backends.mps.is_available(), "cpu": True}
    wanted = os.environ.get("COURSE_DEVICE")
    if wanted:
        kind, _, number = wanted.partition(":")
        expect_choice(kind if number.isdecimal() and kind == "cuda" else wanted, "COURSE_DEVICE", tuple(found))
        expect(found[kind] > int(number or 0), "COURSE_DEVICE", "a device that this machine has", repr(wanted))
        return torch.device(kind, int(number)) if number else torch.device(kind)
    return torch.device(next(name for name, there in found.items() if there))


def _gpus() -> int:
    """How many GPUs CUDA can use here. ``torch.cuda.is_available`` would know as well, but spoil later forks."""
    count = torch.cuda.device_count()
    made_for = torch.version.cuda  # None on AMD
    if count and made_for and _driver() // 1000 < int(made_for.split(".")[0]):
        warnings.warn(f"the GPU's driver is too old for a torch made for CUDA {made_for}, or not there: computing without it", stacklevel=3)
        return 0
    return count


def _driver() -> int:
    """The newest CUDA that the driver serves, 12040 for 12.4; 0 without one."""
    try:
        library = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return 0
    version = ctypes.c_int(0)
    library.cuDriverGetVersion(ctypes.byref(version))  # one of the few calls that don't initialise it
    return version.value


def base_seed() -> int:
    """The seed of this run: ``COURSE_SEED``, or 0. Raises ValueError unless it is a whole number >= 0."""
    text = os.environ.get("COURSE_SEED", "0")
    expect(text.isdecimal() and int(text) < 2**32, "COURSE_SEED", "a whole number from 0 to 2**32 - 1", repr(text))
    return int(text)


def seed(value: int | None = None) -> int:
    """Seed python, numpy and torch (every device) with ``value``, or with ``base_seed()``; return the seed."""
    value = base_seed() if value is None else value
    random.seed(value)
    np.random.seed(value % 2**32)
    torch.manual_seed(value)
    return value


def generator(*key: object, on: torch.device | str = "cpu") -> torch.Generator:
    """A random stream of its own for every ``key`` (names, numbers), repeatable from ``base_seed()``.

    Two experiments that draw from different keys never shift each other's numbers.
    """
    text = repr((base_seed(), *key)).encode()
    number = int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1
    return torch.Generator(device=on).manual_seed(number)


def profile() -> str:
    """``COURSE_PROFILE``: 'quick' unless set. Raises ValueError, listing the names, for any other."""
    name = os.environ.get("COURSE_PROFILE", "quick")
    expect_choice(name, "COURSE_PROFILE", PROFILES)
    return name


def checkout() -> Path | None:
    """The folder of the course's checkout, or None when the package was installed from elsewhere."""
    root = _PACKAGE.parent
    return root if os.path.isfile(root / "pyproject.toml") and os.path.isdir(root / "notebooks") else None


def _folder(variable: str, in_checkout: str) -> Path:
    if chosen := os.environ.get(variable):
        return Path(os.path.expanduser(chosen))  # Path's own raises for a user without a home
    root = checkout()
    return root / in_checkout if root else Path(platformdirs.user_cache_dir("gan-adversarial-course")) / in_checkout


def data_dir() -> Path:
    """Downloads, judges and checkpoints: ``COURSE_DATA_DIR``, else the checkout's ``data/``, else a user cache."""
    return _folder("COURSE_DATA_DIR", "data")


def build_dir() -> Path:
    """Claim records and rendered notebooks: ``COURSE_BUILD_DIR``, else the checkout's ``build/``, else a user cache."""
    return _folder("COURSE_BUILD_DIR", "build")


def recorded_seconds(notebook: str) -> dict[str, dict[str, float | str]]:
    """How long ``notebook`` took, per kind of device, in this profile, as ``make times`` measured it."""
    times = json.loads((_PACKAGE / "records" / "times.json").read_text(encoding="utf-8"))
    return times.get(notebook, {}).get(profile(), {})


def _time_line(notebook: str, kind: str) -> str:
    times = recorded_seconds(notebook)
    if kind in times:
        return f"took {times[kind]['seconds'] / 60:.1f} min on {times[kind]['machine']} when last measured"
    if profile() == "full" and kind == "cpu":
        return "the full profile expects a GPU; on a CPU it can take hours (COURSE_PROFILE=quick takes minutes)"
    if "cpu" in times:
        return f"not measured on {kind} yet; {times['cpu']['seconds'] / 60:.1f} min on {times['cpu']['machine']}"
    return "not timed yet"


def start(notebook: str, *, quick: dict, full: dict, threads: int | None = None) -> SimpleNamespace:
    """Begin a notebook: seed everything, say what this run computes on, return the profile's numbers.

    ``quick`` and ``full`` hold the same names; the returned namespace has them as attributes, and
    ``device`` and ``seed`` beside them. ``threads`` is how many torch uses on the CPU, None for as many as it likes:
    small nets gain nothing from a second one, and with one the figures repeat from machine to machine more nearly.
    Raises ValueError when the two profiles name different settings, or ``threads`` is below 1.
    """
    expect(quick.keys() == full.keys(), "full", f"the settings of quick ({', '.join(quick)})", ", ".join(full))
    chosen = {"quick": quick, "full": full}[profile()]
    where = device()
    if threads is not None:
        expect_count(threads, "threads")
        torch.set_num_threads(threads)
    count, what = (torch.cuda.device_count(), "GPU") if where.type == "cuda" else (torch.get_num_threads(), "thread")
    print(f"device  {where} ({count} {what}{'s' * (count != 1)}), torch {torch.__version__.split('+')[0]}")
    print(f"precision {precision.describe(where)}")
    print(f"profile {profile()}, seed {seed()}")
    print(f"time    {notebook}: {_time_line(notebook, where.type)}")
    return SimpleNamespace(**chosen, device=where, seed=base_seed())
