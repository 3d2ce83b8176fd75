"""What a checkpoint belongs to, as flat text, so that two trainings can be told apart by name."""
from __future__ import annotations

import hashlib
import re
import textwrap
from collections.abc import Iterator
from types import FunctionType, ModuleType

import numpy as np
import torch
from torch import Tensor, nn

from course_utils.training import code
from course_utils.validate import expect

_MOST_HASHED = 2**20  # values of a tensor that a function names


def plain(value: object) -> bool:
    """Whether ``value`` is a number, text, True, False, None, or a list, tuple or dict of such."""
    if isinstance(value, dict):
        return all(plain(part) for part in (*value.keys(), *value.values()))
    if isinstance(value, (list, tuple)):
        return all(plain(part) for part in value)
    return value is None or isinstance(value, (bool, int, float, str))


def tensors_in(state: object, name: str) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of a state dict, however deep, with its name: 'G.0.weight', 'opt.state.0.exp_avg'."""
    if isinstance(state, Tensor):
        yield name, state
    elif isinstance(state, dict):
        for key, part in state.items():
            yield from tensors_in(part, f"{name}.{key}")
    elif isinstance(state, (list, tuple)):
        for key, part in enumerate(state):
            yield from tensors_in(part, f"{name}.{key}")


def text_of(thing: object) -> str:
    """``repr(thing)`` without memory addresses: the same text in every session."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(thing))


def _describe_value(value: object) -> str | None:
    """The text of one part of a function; None where its own parts say everything."""
    if isinstance(value, FunctionType) and not code.from_library(value):
        return code.digest(value.__code__)
    if isinstance(value, Tensor):
        return _describe_tensor(value)
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        return _describe_tensor(torch.from_numpy(np.array(value)))
    if isinstance(value, np.generic):
        return repr(value.item())
    if isinstance(value, (set, frozenset)):  # their order changes from session to session
        return repr(sorted(map(repr, value))) if all(map(code.atom, value)) else type(value).__name__
    entries = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else [value]
    if all(map(code.atom, entries)):
        return text_of(value)
    if isinstance(value, (torch.device, torch.dtype, range, slice)):
        return repr(value)
    if isinstance(value, ModuleType):
        return value.__name__
    named = value if hasattr(value, "__qualname__") else type(value)
    module = getattr(named, "__module__", "builtins")  # what is written in C may have none
    return f"{module}.{named.__qualname__}" if code.from_library(named) else None


def _describe_tensor(tensor: Tensor) -> str:
    """Shape and dtype, and a hash of the values unless they are many, or weights, which training changes."""
    text = f"{tuple(tensor.shape)} {tensor.dtype}"
    if tensor.requires_grad or tensor.numel() > _MOST_HASHED or tensor.layout != torch.strided or tensor.is_meta:
        return text
    return f"{text} {hashlib.sha256(bytes_of(tensor)).hexdigest()[:12]}"


def bytes_of(tensor: Tensor) -> np.ndarray:
    """The values of a tensor on any device, as bytes."""
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()


def _describe_code(name: str, thing: object) -> dict[str, str]:
    """What the function, class or net ``thing`` is made of, by path; the code of 'loss.helper' as 'loss.helper()'."""
    text = {}
    for path, part in code.walk(name, thing):
        if isinstance(part, nn.Module):
            text |= _describe_net(path, part)
        elif (value := _describe_value(part)) is not None:
            key = f"{path}()" if code.is_digest(value) else path
            mark = hashlib.sha256(value.encode()).hexdigest()[:12]
            text[key] = value if len(value) < 200 else f"{value[:60]}… {mark}"
    return text


def _describe_net(name: str, net: nn.Module) -> dict[str, str]:
    """The layers of ``net``, and the names and shapes of its tensors."""
    text = {name: type(net).__name__}
    text |= {key: str(tuple(tensor.shape)) for key, tensor in tensors_in(net.state_dict(), name)}
    for key, part in net.named_modules(prefix=name):
        listed = isinstance(part, (nn.ParameterList, nn.ParameterDict))  # their text names the device
        text[key] = f"{type(part).__name__}({'' if listed else part.extra_repr()})"
    return text


def _describe_kept(name: str, thing: object) -> dict[str, str]:
    if isinstance(thing, nn.Module):
        return _describe_code(name, thing)
    text = {name: type(thing).__name__}
    if not code.from_library(type(thing)):
        text |= _describe_code(f"{name}.{type(thing).__name__}", type(thing))
    if isinstance(thing, torch.optim.Optimizer):  # its state and rates change while it trains: these don't
        text |= {f"{name}.{key}": text_of(value) for key, value in thing.defaults.items()}
        text[f"{name}.parameters"] = str(sum(len(group["params"]) for group in thing.param_groups))
    elif not isinstance(thing, torch.Generator):
        text |= {key: str(tuple(tensor.shape)) for key, tensor in tensors_in(thing.state_dict(), name)}
    return text


def describe(steps: int, config: dict, keep: dict) -> dict[str, str]:
    """Everything that must not differ between a checkpoint and the training that goes on from it.

    The number of steps, every setting of ``config``, the layers of kept modules, the names and shapes
    of their tensors, and the settings that kept optimizers were made with. A function, and a class that is
    no library's, counts by its code and by what it names: ``course_utils.training.code`` says how.
    """
    text = {"steps": str(steps)}
    expect(isinstance(config, dict), "config", "a dict of settings by name", repr(config))
    for key, value in config.items():
        usable = plain(value) or callable(value)
        wanted = "a number, text, a function, or a list, tuple or dict of numbers and text"
        expect(usable, f"config[{key!r}]", wanted, repr(value))
        shown = {f"config.{key}": repr(text_of(value) if callable(value) else value)}
        text |= shown | (_describe_code(f"config.{key}", value) if callable(value) else {}) | shown
    for name, thing in keep.items():
        text |= _describe_kept(name, thing)
    return text


def differences(saved: dict[str, str], now: dict[str, str]) -> str:
    """The settings that differ, at most six of them, as 'lr: saved 0.1, now 0.2; …'. Empty when none does.

    Code from another Python can't be compared and is left out: see ``from_other_python``.
    """
    names = [name for name in {**saved, **now}
             if saved.get(name) != now.get(name) and not code.from_other_python(saved.get(name, ""))]
    listed = [_difference(name, saved.get(name, "nothing"), now.get(name, "nothing")) for name in names[:6]]
    more = [f"and {len(names) - 6} more"] if len(names) > 6 else []
    return "; ".join(listed + more)


def _difference(name: str, saved: str, now: str) -> str:
    if code.is_digest(saved) and code.is_digest(now):
        return f"{name.removesuffix('()')}: its code changed"
    return f"{name}: saved {textwrap.shorten(saved, 80)}, now {textwrap.shorten(now, 80)}"


def from_other_python(saved: dict[str, str]) -> bool:
    """Whether functions in ``saved`` were compiled by another Python, so that nobody can say whether they are these."""
    return any(map(code.from_other_python, saved.values()))
