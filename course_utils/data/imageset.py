"""Pictures with labels, held as one tensor where the computing is done and batched by index."""
from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from course_utils.validate import expect, expect_count, expect_images, expect_labels


@dataclass(frozen=True, eq=False, repr=False)
class ImageSet:
    """Labelled pictures, checked when they are put together.

    ``images``   float32 (N, C, H, W), values in [0, 1]
    ``labels``   int64 (N,), values 0 … len(classes)-1, on the device of ``images``
    ``classes``  the name of each class, all different
    ``name``     what the data set is called

    Raises ValueError, naming the argument, for anything else and for no pictures at all.
    A generator given to a method may live on the CPU while the pictures are on a GPU: the same
    generator then chooses the same pictures on every kind of device.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    name: str

    def __post_init__(self) -> None:
        expect_images(self.images)
        expect(self.images.dtype == torch.float32, "images", "dtype torch.float32", self.images.dtype)
        named = isinstance(self.classes, tuple) and all(isinstance(one, str) for one in self.classes)
        expect(named, "classes", "a tuple of names", repr(self.classes))
        expect(len(set(self.classes)) == len(self.classes), "classes", "names that all differ", repr(self.classes))
        expect_labels(self.labels, len(self.classes), len(self.images))
        same = self.labels.device == self.images.device
        expect(same, "labels", f"the device of the images, {self.images.device}", self.labels.device)
        expect(isinstance(self.name, str), "name", "a string", repr(self.name))

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        size = "x".join(map(str, self.shape))
        return f"{type(self).__name__}({self.name}: {len(self)} pictures {size}, {len(self.classes)} classes, {self.images.device})"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one picture."""
        return tuple(self.images.shape[1:])

    def take(self, which: int | Tensor, generator: torch.Generator | None = None) -> ImageSet:
        """Some of the pictures.

        ``which`` is a number n: the first n (sharing memory with this set), or with a ``generator``
        n at random without replacement. Or it is a tensor: int64 (n,) positions, or bool (N,).
        Raises ValueError when n is below 1 or above N, and for positions outside 0 … N-1.
        """
        if isinstance(which, Tensor):
            expect(generator is None, "generator", "None where which is a tensor", type(generator).__name__)
            return self._at(self._positions(which))
        self._expect_fits(which, "which")
        if generator is None:
            return self._each(lambda rows: rows[:which])
        return self._at(self._shuffled(generator)[:which])

    def of(self, *wanted: str | int) -> ImageSet:
        """Only the pictures of the ``wanted`` classes (names or numbers); labels and class names stay as they are.

        Raises ValueError, listing the names, for a class that does not exist or when none is given.
        """
        expect(len(wanted) > 0, "wanted", f"at least one of {', '.join(self.classes)}", "none")
        numbers = torch.tensor([self._class_number(one) for one in wanted], device=self.labels.device)
        return self._at(torch.isin(self.labels, numbers).nonzero().flatten())

    def batches(
        self, size: int, generator: torch.Generator | None = None, drop_last: bool = False
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Every picture once, as (images (size, C, H, W), labels (size,)); the last batch may be smaller.

        In the order of the set, or shuffled when a ``generator`` is given. ``drop_last`` leaves a
        smaller last batch out. Raises ValueError, at the call, when ``size`` is below 1 or above N.
        """
        self._expect_fits(size, "size")
        stop = len(self) - len(self) % size if drop_last else len(self)
        if generator is None:
            starts = range(0, stop, size)
            return ((self.images[i : i + size], self.labels[i : i + size]) for i in starts)
        rows = self._shuffled(generator)[:stop].split(size)
        return ((self.images.index_select(0, part), self.labels.index_select(0, part)) for part in rows)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """``n`` pictures (n, C, H, W), each drawn from the whole set with replacement."""
        expect_count(n, "n")
        _expect_generator(generator)
        rows = torch.randint(len(self), (n,), generator=generator, device=generator.device)
        return self.images.index_select(0, rows.to(self.images.device))

    def to(self, device: torch.device | str) -> ImageSet:
        """The same set on ``device``."""
        return self._each(lambda rows: rows.to(device))

    def fingerprint(self) -> str:
        """16 hex digits that change with the name, the shape, any label or any pixel, and not with the device."""
        digest = hashlib.sha256(repr((self.name, tuple(self.images.shape))).encode())
        for values in self._contents():
            digest.update(values.detach().cpu().contiguous().numpy())
        return digest.hexdigest()[:16]

    def _at(self, rows: Tensor) -> ImageSet:
        return self._each(lambda values: values.index_select(0, rows))

    def _each(self, change: Callable[[Tensor], Tensor]) -> ImageSet:
        """The set with ``change`` applied to everything that has one row a picture."""
        return replace(self, images=change(self.images), labels=change(self.labels))

    def _contents(self) -> list[Tensor]:
        """Everything that a fingerprint has to notice."""
        return [self.labels, self.images]

    def _shuffled(self, generator: torch.Generator) -> Tensor:
        _expect_generator(generator)
        return torch.randperm(len(self), generator=generator, device=generator.device).to(self.images.device)

    def _positions(self, which: Tensor) -> Tensor:
        """``which`` as int64 positions on the device of the pictures."""
        expect(which.ndim == 1, "which", "the shape (n,)", f"the shape {tuple(which.shape)}")
        expect(which.dtype in (torch.int64, torch.bool), "which", "dtype torch.int64 or torch.bool", which.dtype)
        which = which.to(self.images.device)
        if which.dtype == torch.bool:
            expect(len(which) == len(self), "which", f"one bool for each of {len(self)} pictures", len(which))
            which = which.nonzero().flatten()
        expect(len(which) > 0, "which", "at least one picture", "none")
        low, high = which.min().item(), which.max().item()
        expect(0 <= low and high < len(self), "which", f"positions from 0 to {len(self) - 1}", f"{low} to {high}")
        return which

    def _class_number(self, one: str | int) -> int:
        if one in self.classes:
            return self.classes.index(one)
        number = isinstance(one, int) and not isinstance(one, bool) and 0 <= one < len(self.classes)
        names = ", ".join(self.classes)
        expect(number, "wanted", f"one of {names}, or a number from 0 to {len(self.classes) - 1}", repr(one))
        return one

    def _expect_fits(self, value: object, name: str) -> None:
        expect_count(value, name)
        expect(value <= len(self), name, f"at most {len(self)}, the pictures of {self.name}", value)


def _expect_generator(generator: object) -> None:
    expect(isinstance(generator, torch.Generator), "generator", "a torch.Generator", type(generator).__name__)
