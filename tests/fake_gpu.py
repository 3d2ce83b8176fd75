"""A GPU to test with where there is none: tensors that say they are on "cuda", and a record of what a program would wait for.

Values are computed on the CPU. What torch does with tensors on a GPU is done alike: they refuse to meet tensors on the CPU, with
torch's own words, and a CPU's generator; `numpy` refuses them. Each time that Python would have to stop until the GPU has
come so far is counted, by the line of the course's code that it happens in.

With COURSE_DEVICE=cuda the tests run on the GPU that is there, and torch itself says where it waits.

C++ sees the tensors on the device "meta", which runs the same code without asking for a GPU; whatever is made there is made here.
"""
from __future__ import annotations

import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from types import FrameType
from unittest.mock import patch

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

CUDA, META = torch.device("cuda", 0), torch.device("meta")

# What Python needs an answer of, or the size of what comes out: it waits.
WAITS = {
    "aten::_local_scalar_dense": "item", "aten::equal": "equal", "aten::allclose": "allclose", "aten::nonzero": "nonzero", "aten::masked_select": "masked_select",
    "aten::_unique2": "unique", "aten::unique_dim": "unique", "aten::unique_consecutive": "unique", "aten::bincount": "bincount",
    "aten::multinomial": "multinomial", "aten::_linalg_check_errors": "linalg", "aten::_linalg_eigh": "linalg", "aten::_linalg_svd": "linalg",
}
FOREIGN_INDEX = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")  # these take one on the CPU


class OnGPU(Tensor):
    """A tensor that says it is on a GPU; ``inner`` has its values."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> OnGPU:
        wrapper = Tensor._make_wrapper_subclass(
            cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype, layout=inner.layout, device=META)
        wrapper.inner = inner
        return wrapper

    __torch_function__ = torch._C._disabled_torch_function_impl
    device, is_cuda, is_cpu, is_meta = (property(lambda self, value=value: value) for value in (CUDA, True, False, False))

    def get_device(self) -> int:
        return 0

    @classmethod
    def __torch_dispatch__(cls, func: Callable, types: object, args: tuple = (), kwargs: dict | None = None) -> object:
        assert _now, "a tensor of a fake GPU outlived it"
        return _now[-1].compute(func, args, kwargs or {})


class Generator(torch.Generator):
    """torch.Generator, with those of "cuda" on the CPU."""

    def __new__(cls, device: torch.device | str = "cpu") -> Generator:
        made = super().__new__(cls, device="cpu")
        made.lives_on = torch.device(device).type
        return made

    def __init__(self, device: torch.device | str = "cpu") -> None:
        super().__init__()

    @property
    def device(self) -> torch.device:
        return CUDA if self.lives_on == "cuda" else torch.device("cpu")


class FakeGPU:
    """``waits`` counts the times that Python would wait, by place: 'attacks/pgd.py climb: item, line 101'."""

    def __init__(self) -> None:
        self.waits: Counter[str] = Counter()

    def wait(self, kind: str) -> None:
        """Count a wait, at the innermost line of the course's code."""
        self.waits[_place(kind)] += 1

    def compute(self, func: Callable, args: tuple, kwargs: dict) -> object:
        """An operation of torch, as a GPU would do it."""
        tensors = [leaf for leaf in _leaves((*args, *kwargs.values())) if isinstance(leaf, Tensor)]
        made_here = kwargs.get("device") is not None and torch.device(kwargs["device"]).type == "meta"
        if not made_here and not any(isinstance(one, OnGPU) for one in tensors):
            return func(*args, **kwargs)
        name, changed = _known(func)
        if name in ("aten::_to_copy", "aten::copy_"):
            return self._copy(name, func, args, kwargs)
        _expect_one_device(name, args, tensors, [args[i] for i in changed if i < len(args)])
        self._note(name, args)
        result, wrappers = _on_cpu(func, args, kwargs)

        def outwards(one: object) -> object:
            if not isinstance(one, Tensor):
                return one
            return wrappers[id(one)] if id(one) in wrappers else OnGPU(one)

        return _mapped(outwards, result)

    def _copy(self, name: str, func: Callable, args: tuple, kwargs: dict) -> object:
        """From one device to the other, or on the GPU."""
        if name == "aten::copy_":
            if isinstance(args[0], OnGPU) != isinstance(args[1], OnGPU):
                self.wait("to the GPU" if isinstance(args[0], OnGPU) else "from the GPU")
            _on_cpu(func, args, kwargs)
            return args[0]
        source, target = isinstance(args[0], OnGPU), kwargs.get("device")
        to_gpu = source if target is None else torch.device(target).type == "meta"
        if source != to_gpu:
            self.wait("to the GPU" if to_gpu else "from the GPU")
        result, _ = _on_cpu(func, args, kwargs)
        return OnGPU(result) if to_gpu else result

    def _note(self, name: str, args: tuple) -> None:
        """Count what the operation would wait for."""
        if name in WAITS:
            self.wait(WAITS[name])
        elif name in FOREIGN_INDEX:
            masks = [one for one in args[1] if isinstance(one, Tensor) and one.dtype in (torch.bool, torch.uint8)]
            number = name != "aten::index" and args[2].numel() == 1 and not isinstance(args[2], OnGPU)  # done as masked_fill
            if masks and not number:
                self.wait("index by truth values")
            if any(isinstance(one, Tensor) and not isinstance(one, OnGPU) for one in args[1]):
                self.wait("to the GPU")
        elif name == "aten::repeat_interleave":
            self.wait("repeat_interleave")


def _on_cpu(func: Callable, args: tuple, kwargs: dict) -> tuple[object, dict[int, OnGPU]]:
    """What ``func`` gives for the values, and by the id of its values each tensor that came in."""
    wrappers: dict[int, OnGPU] = {}

    def values(one: object) -> object:
        if isinstance(one, OnGPU):
            wrappers[id(one.inner)] = one
            return one.inner
        return torch.device("cpu") if isinstance(one, torch.device) else one

    args, kwargs = _mapped(values, args), {key: _mapped(values, value) for key, value in kwargs.items()}
    return func(*args, **kwargs), wrappers


def _mapped(change: Callable[[object], object], one: object) -> object:
    """``one`` with ``change`` applied to whatever its lists and tuples hold."""
    return type(one)(_mapped(change, part) for part in one) if isinstance(one, (list, tuple)) else change(one)


def _leaves(parts: Iterable[object]) -> Iterator[object]:
    for one in parts:
        if isinstance(one, (list, tuple)):
            yield from _leaves(one)
        else:
            yield one


@cache
def _known(func: Callable) -> tuple[str, list[int]]:
    """The name of an operation, and which of its arguments it changes."""
    arguments = func._schema.arguments
    return func._schema.name, [i for i, one in enumerate(arguments) if one.alias_info is not None and one.alias_info.is_write]


def _expect_one_device(name: str, args: tuple, tensors: list[Tensor], changed: list[object]) -> None:
    """Raise torch's error where tensors of both devices meet: all but numbers, and the places of an index."""
    if name in FOREIGN_INDEX:
        if not isinstance(args[0], OnGPU):
            raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor (cpu)")
        tensors = [args[0], *args[2:3]]
    on_cpu = [one for one in tensors if isinstance(one, Tensor) and not isinstance(one, OnGPU)]
    written = [one for one in _leaves(changed) if isinstance(one, Tensor) and not isinstance(one, OnGPU)]
    if written or any(one.ndim or name in ("aten::cat", "aten::stack") for one in on_cpu):
        raise RuntimeError(f"Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! (in {name})")


class _Dispatch(TorchDispatchMode):
    def __init__(self, gpu: FakeGPU) -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_dispatch__(self, func: Callable, types: object, args: tuple = (), kwargs: dict | None = None) -> object:
        return self.gpu.compute(func, args, kwargs or {})


class _Functions(TorchFunctionMode):
    """Calls of torch with the device "cuda", which would look for one; and those that read memory."""

    def __init__(self, gpu: FakeGPU) -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_function__(self, func: Callable, types: object, args: tuple = (), kwargs: dict | None = None) -> object:
        kwargs, name = kwargs or {}, getattr(func, "__name__", "")
        first = args[0] if args else None
        if isinstance(first, OnGPU):
            if name in ("numpy", "__array__"):
                raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first.")
            if name in ("tolist", "__repr__", "__str__", "__format__"):
                self.gpu.wait(name)
                return func(first.inner, *args[1:], **kwargs)
            if name == "__setitem__" and isinstance(args[2], (bool, int, float)):
                args = (first, args[1], torch.tensor(args[2], dtype=first.dtype))  # on a GPU torch keeps it on the CPU; on "meta" it doesn't
            if name == "new_tensor":
                self.gpu.wait("to the GPU")
                return OnGPU(func(first.inner, *args[1:], **kwargs))
        if name in ("tensor", "as_tensor", "asarray") and _names_gpu(kwargs.get("device")):
            if isinstance(first, OnGPU):
                return first.to(**{**kwargs, "device": META})
            self.gpu.wait("to the GPU")
            return OnGPU(func(*args, **{**kwargs, "device": "cpu"}))
        if name == "cuda":
            return first.to(META)
        for one in (*args, *kwargs.values()):
            if isinstance(one, torch._C.Generator):
                _expect_generator(one, _names_gpu(kwargs.get("device")) or isinstance(first, OnGPU))
        if "device" in kwargs and _names_gpu(kwargs["device"]):
            kwargs = {**kwargs, "device": META}
        args = tuple(META if isinstance(one, torch.device) and one.type == "cuda" else one for one in args)
        if name == "to" and len(args) > 1 and isinstance(args[1], str) and _names_gpu(args[1]):
            args = (first, META, *args[2:])
        return func(*args, **kwargs)


def _expect_generator(one: torch.Generator, on_gpu: bool) -> None:
    wanted, got = "cuda" if on_gpu else "cpu", one.device.type
    if wanted != got:
        raise RuntimeError(f"Expected a '{wanted}' device type for generator but found '{got}'")


def _names_gpu(device: object) -> bool:
    return device is not None and torch.device(device).type in ("cuda", "meta")


def _place(kind: str) -> str:
    """The innermost line of the course's code, or of the test: 'attacks/pgd.py climb: item, line 101'."""
    frame, found = sys._getframe(2), None
    while frame is not None:
        parts = Path(frame.f_code.co_filename).parts
        if "course_utils" in parts:
            return f"{'/'.join(parts[parts.index('course_utils') + 1:])} {_name_of(frame)}: {kind}, line {frame.f_lineno}"
        if found is None and parts[-1].startswith("test_"):
            found = f"{parts[-1]} {_name_of(frame)}: {kind}, line {frame.f_lineno}"
        frame = frame.f_back
    return found or f"elsewhere: {kind}"


def _name_of(frame: FrameType) -> str:
    return frame.f_code.co_qualname.split(".<locals>")[0]


_now: list[FakeGPU] = []


def is_real() -> bool:
    """Whether the tests have been asked to run on a GPU that is there."""
    return os.environ.get("COURSE_DEVICE", "").startswith("cuda")


@contextmanager
def a_gpu() -> Iterator[FakeGPU]:
    """The GPU that COURSE_DEVICE names, else a fake one."""
    with real_gpu() if is_real() else fake_gpu() as gpu:
        yield gpu


@contextmanager
def real_gpu() -> Iterator[FakeGPU]:
    """The GPU that is there; torch warns each time that Python waits for it, and that is counted."""
    gpu, before = FakeGPU(), torch.cuda.get_sync_debug_mode()

    def note(message: object, *_: object, **__: object) -> None:
        if "synchronizing CUDA operation" in str(message):
            gpu.wait("a wait")

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = note
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield gpu
        finally:
            torch.cuda.set_sync_debug_mode(before)


@contextmanager
def fake_gpu() -> Iterator[FakeGPU]:
    """Within, the device "cuda" is there. What is said of the machine itself (`torch.cuda.is_available`) stays."""
    gpu = FakeGPU()
    state = lambda device="cuda": torch.get_rng_state()  # noqa: E731
    put_back = lambda new, device="cuda": None  # noqa: E731
    patches = [
        patch.object(torch, "Generator", Generator), patch.object(torch.cuda, "get_rng_state", state),
        patch.object(torch.cuda, "set_rng_state", put_back), patch.object(torch.cuda, "device", lambda _: nullcontext()),
        patch.object(torch.cuda, "is_bf16_supported", lambda *a, **k: False)]
    _now.append(gpu)
    try:
        for one in patches:
            one.start()
        with _Dispatch(gpu), _Functions(gpu):
            yield gpu
    finally:
        for one in patches:
            one.stop()
        _now.pop()
