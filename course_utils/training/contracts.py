"""What training and evaluation ask of a data set and of a model's answers."""
from __future__ import annotations

from torch import Tensor

from course_utils.validate import expect, expect_images, expect_labels


def expect_data(data: object) -> None:
    """Raise ValueError unless ``data`` is like an ImageSet, with pictures in [0, 1] and labels that fit them."""
    complete = all(hasattr(data, part) for part in ("images", "labels", "classes"))
    expect(complete, "data", "an ImageSet: images, labels, classes", type(data).__name__)
    expect_images(data.images, "data.images")
    expect_labels(data.labels, len(data.classes), len(data.images), "data.labels")


def expect_logits(logits: object, count: int, classes: int) -> None:
    """Raise ValueError unless ``logits`` is a tensor of the shape (count, classes)."""
    hint = ": lambda x: model(x).logits takes it from the answer" if hasattr(logits, "logits") else ""
    expect(isinstance(logits, Tensor), "model", f"a torch.Tensor as the answer{hint}", type(logits).__name__)
    wanted = f"logits of the shape ({count}, {classes}): {count} pictures, {classes} classes"
    expect(logits.shape == (count, classes), "model", wanted, f"the shape {tuple(logits.shape)}")
