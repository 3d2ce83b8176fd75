"""Full float32 where small steps count, and torch's own settings afterwards as they were, however they were set."""
from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import pytest
import torch
from torch.nn import functional as F

from course_utils import precision
from course_utils.precision import full_precision

NEW = hasattr(torch.backends.cudnn, "conv")  # since torch 2.9
B = torch.backends


def read(ask: Callable[[], object]) -> object:
    """What torch answers, or that it raises: it does where old and new settings were mixed."""
    try:
        return ask()
    except RuntimeError:
        return "raises"


def old() -> list[object]:
    return [read(torch.get_float32_matmul_precision), read(lambda: B.cuda.matmul.allow_tf32), read(lambda: B.cudnn.allow_tf32)]


def new() -> list[str]:
    parts = [B, B.cudnn, B.cudnn.conv, B.cudnn.rnn, B.cuda.matmul, B.mkldnn.matmul, B.mkldnn.conv, B.mkldnn.rnn] if NEW else []
    return [part.fp32_precision for part in parts]


def own() -> list[object]:
    """Every setting by itself, without what it inherits: each is read with its parents at "none"."""
    if not NEW:
        return []
    kept = []
    for part in (B, B.cudnn):
        kept.append(part.fp32_precision)
        part.fp32_precision = "none"
    found = [*kept, *new()]
    B.cudnn.fp32_precision, B.fp32_precision = kept[1], kept[0]
    return found


@pytest.fixture(autouse=True)
def defaults() -> Iterator[None]:
    yield
    torch.set_float32_matmul_precision("highest")
    if NEW:
        for part in (B.mkldnn.matmul, B.mkldnn.conv, B.mkldnn.rnn, B.cuda.matmul, B.cudnn, B):
            part.fp32_precision = "none"
    B.cudnn.allow_tf32 = True


def nothing() -> None:
    pass


def old_ways() -> None:
    torch.set_float32_matmul_precision("medium")
    B.cudnn.allow_tf32 = False


def old_matmul() -> None:
    B.cuda.matmul.allow_tf32 = True


def new_conv() -> None:
    B.cudnn.conv.fp32_precision = "ieee"


def new_over_old() -> None:
    old_ways()
    B.cuda.matmul.fp32_precision = "ieee"
    B.cudnn.rnn.fp32_precision = "tf32"


def inherited() -> None:
    B.fp32_precision = "tf32"
    B.cudnn.conv.fp32_precision = "none"


def of_the_cpu() -> None:
    B.mkldnn.matmul.fp32_precision = "bf16"
    B.mkldnn.conv.fp32_precision = "bf16"
    B.cudnn.fp32_precision = "tf32"


MIXED = [new_conv, new_over_old, inherited, of_the_cpu] if NEW else []


@pytest.mark.parametrize("ways", [nothing, old_ways, old_matmul, *MIXED])
def test_full_precision_inside_and_the_users_settings_afterwards(ways):
    ways()
    before = old(), new(), own()
    with full_precision():
        assert old() == ["highest", False, False], "readable, too: torch's own helpers read them"
        assert set(new()) <= {"ieee"}
    assert (old(), new(), own()) == before
    with pytest.raises(KeyError), full_precision():
        raise KeyError
    assert (old(), new(), own()) == before


@pytest.mark.skipif(not NEW, reason="torch 2.9 has another way")
def test_what_is_inherited_still_is_afterwards():
    inherited()
    with full_precision():
        pass
    B.fp32_precision = "none"
    assert B.cudnn.conv.fp32_precision == "none" and B.cuda.matmul.fp32_precision == "none"


def test_one_within_another():
    B.cudnn.allow_tf32 = True
    with full_precision():
        with full_precision():
            pass
        assert old() == ["highest", False, False]
    assert B.cudnn.allow_tf32


def test_the_old_torch_has_only_the_old_ways(monkeypatch):
    monkeypatch.setattr(precision, "_parts", lambda: [])
    old_ways()
    with full_precision():
        assert old()[0] == "highest" and old()[2] is False
    assert old() == ["medium", True, False]


def test_a_torch_that_warns_of_the_old_ways_is_not_heard(monkeypatch, recwarn):
    once, real = iter([True]), torch.set_float32_matmul_precision

    def warning(value: str) -> None:
        if next(once, False):
            warnings.warn("Please use the new API settings to control TF32 behavior")
        real(value)

    precision._hush.cache_clear()
    monkeypatch.setattr(torch, "set_float32_matmul_precision", warning)
    with full_precision():
        pass
    assert next(once, None) is None and not recwarn.list


def test_the_words_are_those_of_the_kind_of_machine(monkeypatch):
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: pytest.fail("CUDA was initialised"))
    assert precision.describe(torch.device("cpu")) == precision.describe(torch.device("mps")) == "float32"
    ends = "where the GPU has them; full float32 for VAT, L-BFGS and borders"
    assert precision.describe(torch.device("cuda")) == f"bfloat16 in fit and TF32 in convolutions {ends}"
    B.cuda.matmul.allow_tf32 = True
    assert precision.describe(torch.device("cuda:1")) == f"bfloat16 in fit and TF32 in convolutions and matrix products {ends}"
    old_ways()
    B.cuda.matmul.allow_tf32 = False
    assert precision.describe(torch.device("cuda")) == f"bfloat16 in fit and TF32 in nothing {ends}"
    if NEW:
        new_over_old()  # reading the old names would raise
        assert precision.describe(torch.device("cuda")) == f"bfloat16 in fit and TF32 in nothing {ends}"
