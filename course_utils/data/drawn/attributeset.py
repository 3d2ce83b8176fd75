"""An ImageSet that knows what is in its pictures."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from course_utils.data.imageset import ImageSet
from course_utils.validate import expect, expect_choice, expect_images, expect_labels


@dataclass(frozen=True, eq=False, repr=False)
class AttributeSet(ImageSet):
    """Labelled pictures with attributes; whatever chooses pictures (``take``, ``of``, …) takes the attributes along.

    ``attributes``  name -> int64 (N,), the number of the value that each picture has
    ``values``      name -> the names of the values: picture i is ``values["hair"][attributes["hair"][i]]``
    ``masks``       float32 (N, 1, H, W) in [0, 1], how far each pixel belongs to the object; None where there is none
    ``captions``    N sentences, or None

    Raises ValueError, naming the argument, where these don't fit the pictures or each other.
    """

    attributes: dict[str, Tensor]
    values: dict[str, tuple[str, ...]]
    masks: Tensor | None = None
    captions: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        expect(self.attributes.keys() == self.values.keys(), "values", "the names of the attributes, " + ", ".join(self.attributes), ", ".join(self.values))
        for name, numbers in self.attributes.items():
            expect_labels(numbers, len(self.values[name]), len(self), f"attributes[{name!r}]")
        if self.masks is not None:
            expect_images(self.masks, "masks")
            wanted = (len(self), 1, *self.shape[1:])
            expect(self.masks.shape == wanted, "masks", f"the shape {wanted}", f"the shape {tuple(self.masks.shape)}")
        if self.captions is not None:
            expect(len(self.captions) == len(self), "captions", f"one for each of {len(self)} pictures", len(self.captions))

    def where(self, **wanted: str | tuple[str, ...]) -> AttributeSet:
        """Only the pictures with these values: ``faces.where(gender="man", hair=("blond", "red"))``.

        Raises ValueError, listing what there is, for an unknown attribute or value, and when no picture is left.
        """
        chosen = torch.ones_like(self.labels, dtype=torch.bool)
        for name, values in wanted.items():
            expect_choice(name, "attribute", tuple(self.values))
            values = (values,) if isinstance(values, str) else values
            for value in values:
                expect_choice(value, name, self.values[name])
            numbers = torch.tensor([self.values[name].index(value) for value in values], device=chosen.device)
            chosen &= torch.isin(self.attributes[name], numbers)
        expect(bool(chosen.any()), "wanted", f"values that some picture of {self.name} has", wanted)
        return self.take(chosen)

    def _each(self, change: Callable[[Tensor], Tensor]) -> AttributeSet:
        """``change`` applied to everything that has one row a picture."""
        changed = {"images": change(self.images), "labels": change(self.labels)}
        changed["attributes"] = {name: change(numbers) for name, numbers in self.attributes.items()}
        if self.masks is not None:
            changed["masks"] = change(self.masks)
        if self.captions is not None:
            rows = change(torch.arange(len(self), device=self.labels.device)).tolist()
            changed["captions"] = tuple(self.captions[row] for row in rows)
        return replace(self, **changed)

    def _contents(self) -> list[Tensor]:
        extra = [*self.attributes.values()] + [self.masks] * (self.masks is not None)
        if self.captions is not None:
            extra.append(torch.tensor(list("\n".join(self.captions).encode()), dtype=torch.uint8, device="cpu"))
        return super()._contents() + extra
