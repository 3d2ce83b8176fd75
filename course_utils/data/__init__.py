"""Pictures to learn from: ``load("digits")`` and what the package draws, without a network; MNIST and others by download."""
from __future__ import annotations

from collections.abc import Callable
from functools import partial

from course_utils.data import apps, cache, digits, download, drawn
from course_utils.data.arrays import SPLITS, image_set
from course_utils.data.drawn.attributeset import AttributeSet
from course_utils.data.imageset import ImageSet
from course_utils.validate import expect_choice

__all__ = ["AttributeSet", "ImageSet", "load", "names"]


def _digits(split: str) -> ImageSet:
    return image_set(digits.arrays(), split, "digits")


def _downloaded(name: str, split: str) -> ImageSet:
    return image_set(cache.get(name, download.fetch), split, name)


# Name -> loader(split). A new data set is one more entry.
_LOADERS: dict[str, Callable[[str], ImageSet]] = {
    "digits": _digits,
    **{name: partial(_downloaded, name) for name in download.SOURCES},
    "apps": apps.load,
    **{name: partial(drawn.load, name) for name in drawn.NAMES},
}


def names() -> tuple[str, ...]:
    """The data sets that ``load`` knows."""
    return tuple(_LOADERS)


def load(name: str, split: str = "train") -> ImageSet:
    """The data set ``name`` on the CPU, its 'train' or 'test' split.

    ``digits`` (1, 28, 28) needs no network. ``mnist`` and ``fashion_mnist`` (1, 28, 28) and ``cifar10``
    (3, 32, 32) are downloaded once into ``runtime.data_dir()``. ``faces`` and the other names of ``data.drawn``
    (3, 32, 32) are drawn by the package and come as an AttributeSet. ``apps`` are lists of features (data.apps).

    Raises ValueError, listing the names, for an unknown ``name`` or ``split``; RuntimeError, saying what
    to put where by hand, when a download fails; OSError when the folder can't be written or is full.
    """
    expect_choice(name, "name", names())
    expect_choice(split, "split", SPLITS)
    return _LOADERS[name](split)
