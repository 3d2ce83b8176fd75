"""How many digits the course computes with, decided here for all: bfloat16 in training, TF32, and single precision in full.

A GPU may round the factors of convolutions and matrix products to the 10 bits of TF32: good enough to train with, and what torch does by
default in convolutions. Where a method takes steps as small as single precision can carry, they drown in that.
"""
from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch


def has_bfloat16(device: torch.device) -> bool:
    """Whether ``device`` is a GPU that is made for bfloat16: there ``fit`` trains with it unless told otherwise. Initialises CUDA."""
    if device.type != "cuda":
        return False
    with torch.cuda.device(device):  # of several GPUs this one is meant
        return torch.cuda.is_bf16_supported(including_emulation=False)


def describe(device: torch.device) -> str:
    """What a notebook on ``device`` computes with, in words that are the same for every machine of that kind."""
    if device.type != "cuda":
        return "float32"
    return f"bfloat16 in fit and TF32 in {_with_tf32()} where the GPU has them; full float32 for VAT, L-BFGS and borders"


def _with_tf32() -> str:
    new = hasattr(torch.backends.cudnn, "conv")  # the old names raise where old and new were mixed
    places = {
        "convolutions": torch.backends.cudnn.conv.fp32_precision == "tf32" if new else torch.backends.cudnn.allow_tf32,
        "matrix products": torch.backends.cuda.matmul.fp32_precision == "tf32" if new else torch.backends.cuda.matmul.allow_tf32,
    }
    return " and ".join(name for name, on in places.items() if on) or "nothing"


@contextmanager
def full_precision() -> Iterator[None]:
    """Convolutions, recurrent nets and matrix products of float32 in full, without TF32 or bfloat16; afterwards set as before.

    Both of torch's ways to ask for less are covered, each by itself or mixed: ``allow_tf32`` and ``set_float32_matmul_precision``,
    and ``fp32_precision`` since torch 2.9. They hold for all threads. An ``autocast`` around it stays.
    """
    _hush()
    with _full():
        yield


@contextmanager
def _full() -> Iterator[None]:
    parts, cudnn = _parts(), _cudnn_allows()
    before = [_take(part) for part in parts]  # parents first: what a part has of its own shows when its parents have nothing
    matmul = torch.get_float32_matmul_precision()
    if cudnn is None:
        cudnn = _cudnn_allows() is not False  # the new ones say no by now
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    for part in parts:
        part.fp32_precision = "ieee"
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = cudnn
        torch.set_float32_matmul_precision(matmul)
        for part, value in zip(reversed(parts), reversed(before)):
            part.fp32_precision = value


@cache
def _parts() -> list[object]:
    """Where ``fp32_precision`` can be set, those that others inherit from first; nowhere before torch 2.9."""
    backends = torch.backends
    if not hasattr(backends.cudnn, "conv"):
        return []
    return [backends, backends.mkldnn, backends.cudnn, backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul,
            backends.mkldnn.matmul, backends.mkldnn.conv, backends.mkldnn.rnn]


def _take(part: object) -> str:
    value = part.fp32_precision
    part.fp32_precision = "none"
    return value


def _cudnn_allows() -> bool | None:
    """The old switch; None where the new ones say something else."""
    try:
        return torch.backends.cudnn.allow_tf32
    except RuntimeError:
        return None


@cache
def _hush() -> None:
    """torch 2.9 warns once a process that the old switches will go."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with _full():
            pass
