"""Pictures that the package draws itself, 32x32 in colour, so that the truth about every picture is known.

``load("faces")`` gives an AttributeSet. The pictures don't depend on COURSE_SEED and are the same on every machine.
A data set is one module with VALUES (attribute -> names of its values), CLASSES, SIZES, ``labels`` and ``draw``.
"""
from __future__ import annotations

import functools
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from course_utils.data.drawn import faces
from course_utils.data.drawn.attributeset import AttributeSet
from course_utils.data.drawn.canvas import CHUNK, SIZE, Random, levels
from course_utils.data.drawn.filters import edges, grey
from course_utils.validate import expect_choice

__all__ = ["NAMES", "SHAPE", "AttributeSet", "edges", "grey", "load", "values"]

_MODULES: dict[str, ModuleType] = {"faces": faces}
NAMES = tuple(_MODULES)
SHAPE = (3, SIZE, SIZE)


def values(name: str) -> dict[str, tuple[str, ...]]:
    """Attribute -> the names of its values, in the drawn data set ``name``. Raises ValueError for another name."""
    expect_choice(name, "name", NAMES)
    return dict(_MODULES[name].VALUES)


def load(name: str, split: str) -> AttributeSet:
    """The ``split`` of the drawn data set ``name``, one of NAMES.

    It is drawn once a process and kept as bytes; each call makes new tensors of them, so that whoever writes into his
    pictures changes nobody else's.
    """
    module = _MODULES[name]
    pictures, masks, attributes = _drawn(name, split)
    labels = torch.from_numpy(module.labels(attributes))
    numbers = {key: torch.from_numpy(values.copy()) for key, values in attributes.items()}
    return AttributeSet(_floats(pictures), labels, module.CLASSES, name, numbers, values(name),
                        None if masks is None else _floats(masks))


@functools.cache
def _drawn(name: str, split: str) -> tuple[np.ndarray, np.ndarray | None, dict[str, np.ndarray]]:
    """Pictures (N, 3, 32, 32) and masks (N, 1, 32, 32) uint8, attributes (N,) int64."""
    module = _MODULES[name]
    parts = [_chunk(module, Random(CHUNK, name, split, i)) for i in range(module.SIZES[split] // CHUNK)]
    pictures, masks, attributes = zip(*parts)
    numbers = {key: np.concatenate([part[key] for part in attributes]) for key in module.VALUES}
    return np.concatenate(pictures), None if masks[0] is None else np.concatenate(masks), numbers


def _chunk(module: ModuleType, random: Random) -> tuple[np.ndarray, np.ndarray | None, dict[str, np.ndarray]]:
    attributes = {key: random.choice(len(values)) for key, values in module.VALUES.items()}
    pixels, mask = module.draw(attributes, random)
    return levels(pixels).swapaxes(0, 1), None if mask is None else levels(mask)[:, None], attributes


def _floats(stored: np.ndarray) -> Tensor:
    """Byte b becomes the float b/255."""
    return torch.from_numpy(stored).to(torch.float32, memory_format=torch.contiguous_format).div_(255)
