"""Arguments are held against what a function can use, before any work is done or lost."""
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def expect(ok: bool, name: str, expected: str, got: object) -> None:
    """Raise ``ValueError("<name>: expected <expected>, got <got>")`` unless ``ok``."""
    if not ok:
        raise ValueError(f"{name}: expected {expected}, got {got}")


def expect_choice(value: object, name: str, choices: Sequence[str]) -> None:
    """Raise ValueError, listing the names that exist, unless ``value`` is one of ``choices``."""
    expect(value in choices, name, "one of " + ", ".join(choices), repr(value))


def expect_count(value: object, name: str, at_least: int = 1) -> None:
    """Raise ValueError unless ``value`` is a whole number of at least ``at_least``."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    expect(whole and value >= at_least, name, f"a whole number of at least {at_least}", repr(value))


def expect_positive(value: object, name: str) -> None:
    """Raise ValueError unless ``value`` is a finite number above 0."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    expect(number and 0 < value < float("inf"), name, "a finite number above 0", repr(value))


def expect_in_box(values: object, name: str = "x") -> None:
    """Raise ValueError unless ``values`` is a float tensor (N, ...), not empty, with every value in [0, 1]."""
    expect(isinstance(values, Tensor), name, "a torch.Tensor (N, …)", type(values).__name__)
    expect(values.ndim >= 2, name, "the shape (N, …): one example a row", f"the shape {tuple(values.shape)}")
    expect(values.is_floating_point(), name, "a floating point dtype, values in [0, 1]", values.dtype)
    expect(values.numel() > 0, name, "at least one example", f"the shape {tuple(values.shape)}")
    _expect_unit(values, name)


def _expect_unit(values: Tensor, name: str) -> None:
    low, high = torch.stack(torch.aminmax(values.detach())).tolist()  # NaN spreads into both; one read, for which a GPU waits
    expect(low == low and high == high, name, "no NaN", "NaN among the values")
    expect(0 <= low and high <= 1, name, "values in [0, 1]", f"values in [{low:.4g}, {high:.4g}]")


def expect_images(images: object, name: str = "images") -> None:
    """Raise ValueError unless ``images`` is a float tensor (N, C, H, W) with every value in [0, 1]."""
    expect_image_shape(images, name)
    _expect_unit(images, name)


def expect_image_shape(images: object, name: str = "images") -> None:
    """Raise ValueError unless ``images`` is a float tensor (N, C, H, W), not empty. Its values are not read."""
    tensor = isinstance(images, Tensor)
    expect(tensor, name, "a torch.Tensor (N, C, H, W)", type(images).__name__)
    expect(images.ndim == 4, name, "the shape (N, C, H, W)", f"the shape {tuple(images.shape)}")
    expect(images.is_floating_point(), name, "a floating point dtype, values in [0, 1]", images.dtype)
    if images.numel() == 0:
        raise ValueError(f"{name}: expected at least one picture, got the shape {tuple(images.shape)}")


def expect_generator(generator: object, name: str = "generator") -> None:
    """Raise ValueError unless ``generator`` is None or a torch.Generator on the CPU, whose numbers no GPU changes."""
    expected = "None or a torch.Generator on the CPU"
    expect(generator is None or isinstance(generator, torch.Generator), name, expected, type(generator).__name__)
    expect(generator is None or generator.device.type == "cpu", name, expected, f"one on {getattr(generator, 'device', None)}")


def expect_label_form(labels: object, count: int, name: str = "labels") -> None:
    """Raise ValueError unless ``labels`` is an int64 tensor of shape (count,). No value is read: nothing waits for a GPU."""
    tensor = isinstance(labels, Tensor)
    expect(tensor, name, "a torch.Tensor of class numbers", type(labels).__name__)
    expect(labels.dtype == torch.int64, name, "dtype torch.int64", labels.dtype)
    expect(labels.shape == (count,), name, f"the shape ({count},)", f"the shape {tuple(labels.shape)}")


def expect_labels(labels: object, classes: int | None, count: int, name: str = "labels") -> None:
    """Raise ValueError unless ``labels`` is an int64 tensor of shape (count,) with values 0 … classes-1.

    With ``classes`` None, while nobody knows how many there are, any number of at least 0 will do.
    """
    expect_label_form(labels, count, name)
    if labels.numel():
        low, high = labels.min().item(), labels.max().item()
        if classes is None:
            expect(low >= 0, name, "class numbers of at least 0", low)
        else:
            expect(0 <= low and high < classes, name, f"class numbers from 0 to {classes - 1}", f"{low} to {high}")
