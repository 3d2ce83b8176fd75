"""What a checkpoint belongs to, as flat text, so that two trainings can be told apart by name."""
from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from course_utils.validate import expect


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


def _describe_kept(name: str, thing: object) -> dict[str, str]:
    text = {name: type(thing).__name__}
    if isinstance(thing, torch.optim.Optimizer):  # its state and rates change while it trains: these don't
        text |= {f"{name}.{key}": text_of(value) for key, value in thing.defaults.items()}
        text[f"{name}.parameters"] = str(sum(len(group["params"]) for group in thing.param_groups))
    elif not isinstance(thing, torch.Generator):
        text |= {key: str(tuple(tensor.shape)) for key, tensor in tensors_in(thing.state_dict(), name)}
    if isinstance(thing, nn.Module):
        for key, part in thing.named_modules(prefix=name):
            listed = isinstance(part, (nn.ParameterList, nn.ParameterDict))  # their text names the device
            text[key] = f"{type(part).__name__}({'' if listed else part.extra_repr()})"
    return text


def describe(steps: int, config: dict, keep: dict) -> dict[str, str]:
    """Everything that must not differ between a checkpoint and the training that goes on from it.

    The number of steps, every setting of ``config``, the layers of kept modules, the names and shapes
    of their tensors, and the settings that kept optimizers were made with.
    """
    text = {"steps": str(steps)}
    expect(isinstance(config, dict), "config", "a dict of settings by name", repr(config))
    for key, value in config.items():
        expect(plain(value), f"config[{key!r}]", "a number, text, or a list, tuple or dict of them", repr(value))
        text[f"config.{key}"] = repr(value)
    for name, thing in keep.items():
        text |= _describe_kept(name, thing)
    return text


def differences(saved: dict[str, str], now: dict[str, str]) -> str:
    """The settings that differ, at most six of them, as 'lr: saved 0.1, now 0.2; …'. Empty when none does."""
    names = [name for name in {**saved, **now} if saved.get(name) != now.get(name)]
    short = [[textwrap.shorten(text.get(name, "nothing"), 80) for text in (saved, now)] for name in names[:6]]
    listed = [f"{name}: saved {then}, now {today}" for name, (then, today) in zip(names, short)]
    more = [f"and {len(names) - 6} more"] if len(names) > 6 else []
    return "; ".join(listed + more)
