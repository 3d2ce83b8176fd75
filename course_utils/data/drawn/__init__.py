"""Pictures that the package draws itself, 32x32 in colour, so that the truth about every picture is known.

``load("faces")`` gives an AttributeSet. The pictures don't depend on COURSE_SEED and are the same on every machine.
A data set is one module with VALUES (attribute -> names of its values), CLASSES, SIZES, ``labels`` and ``draw``; it may
have its own ``choose`` (of attributes) and ``captions``.
"""
from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from course_utils.data.drawn import faces, fruit, horses, seasons, shapes
from course_utils.data.drawn.attributeset import AttributeSet
from course_utils.data.drawn.canvas import CHUNK, SIZE, Random, levels
from course_utils.data.drawn.captions import grammar
from course_utils.data.drawn.filters import edges, grey
from course_utils.data.drawn.shapes import unseen
from course_utils.validate import expect_choice

__all__ = ["NAMES", "SHAPE", "AttributeSet", "changed", "edges", "grammar", "grey", "judges_split", "load", "unseen", "values"]

_MODULES: dict[str, ModuleType] = {"faces": faces, "shapes": shapes, "horses": horses, "fruit": fruit, "seasons": seasons}
NAMES = tuple(_MODULES)
SHAPE = (3, SIZE, SIZE)


@dataclass(frozen=True)
class _Stored:
    """What ``N`` pictures are kept as, between two calls of ``load``."""

    pictures: np.ndarray  # (N, 3, 32, 32) uint8
    masks: np.ndarray | None  # (N, 32, 32) uint8
    attributes: dict[str, np.ndarray]  # (N,) int64 each
    captions: tuple[str, ...] | None


def values(name: str) -> dict[str, tuple[str, ...]]:
    """Attribute -> the names of its values, in the drawn data set ``name``. Raises ValueError for another name."""
    expect_choice(name, "name", NAMES)
    return dict(_MODULES[name].VALUES)


def judges_split(name: str) -> str:
    """The split that a judge of ``name`` learns from: one of its own where it has one, else the training part."""
    return "judge" if "judge" in _MODULES[name].SIZES else "train"


def load(name: str, split: str = "train") -> AttributeSet:
    """The ``split`` of the drawn data set ``name``, one of NAMES.

    It is drawn once a process and kept as bytes; each call makes new tensors of them, so that whoever writes into his
    pictures changes nobody else's. Raises ValueError for an unknown name or split.
    """
    expect_choice(name, "name", NAMES)
    expect_choice(split, "split", tuple(_MODULES[name].SIZES))
    return _as_set(name, _drawn(name, split))


def changed(name: str, split: str = "train", **wanted: str) -> AttributeSet:
    """The pictures of ``load(name, split)`` as they would be with other values: ``changed("faces", smile="smiling")``.

    Everything else stays as it was: the same face, now smiling. This is the truth that a translation of pictures can be
    held against; captions are left out. Raises ValueError for unknown attributes and values.
    """
    expect_choice(name, "name", NAMES)
    expect_choice(split, "split", tuple(_MODULES[name].SIZES))
    for key, value in wanted.items():
        expect_choice(key, "attribute", tuple(values(name)))
        expect_choice(value, key, values(name)[key])
    return _as_set(name, replace(_draw(name, split, wanted), captions=None))


def _as_set(name: str, stored: _Stored) -> AttributeSet:
    module = _MODULES[name]
    labels = torch.from_numpy(module.labels(stored.attributes).copy())
    numbers = {key: torch.from_numpy(numbers.copy()) for key, numbers in stored.attributes.items()}
    masks = None if stored.masks is None else _floats(stored.masks).unsqueeze(1)
    return AttributeSet(_floats(stored.pictures), labels, module.CLASSES, name, numbers, values(name), masks, stored.captions)


@functools.cache
def _drawn(name: str, split: str) -> _Stored:
    return _draw(name, split, {})


def _draw(name: str, split: str, wanted: dict[str, str]) -> _Stored:
    module = _MODULES[name]
    parts = [_chunk(module, split, wanted, Random(CHUNK, name, split, i)) for i in range(module.SIZES[split] // CHUNK)]
    return _Stored(
        np.concatenate([part.pictures for part in parts]),
        None if parts[0].masks is None else np.concatenate([part.masks for part in parts]),
        {key: np.concatenate([part.attributes[key] for part in parts]) for key in module.VALUES},
        None if parts[0].captions is None else tuple(caption for part in parts for caption in part.captions),
    )


def _chunk(module: ModuleType, split: str, wanted: dict[str, str], random: Random) -> _Stored:
    """``CHUNK`` pictures. The attributes are chosen first: changing one leaves all other random numbers as they are."""
    choose = getattr(module, "choose", lambda random, split: {key: random.choice(len(names)) for key, names in module.VALUES.items()})
    attributes = choose(random, split)
    for key, value in wanted.items():
        attributes[key] = np.full(CHUNK, module.VALUES[key].index(value))
    pixels, mask = module.draw(attributes, random)
    captions = module.captions(attributes, random) if hasattr(module, "captions") else None
    return _Stored(levels(pixels).swapaxes(0, 1), None if mask is None else levels(mask), attributes, captions)


def _floats(stored: np.ndarray) -> Tensor:
    """Byte b becomes the float b/255."""
    return torch.from_numpy(stored).to(torch.float32, memory_format=torch.contiguous_format).div_(255)
