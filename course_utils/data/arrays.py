"""A data set as five numpy arrays: the format of the cache files, and the way from there to an ImageSet."""
from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from course_utils.data.imageset import ImageSet
from course_utils.validate import expect, expect_labels

SPLITS = ("train", "test")
KEYS = ("train_images", "train_labels", "test_images", "test_labels", "classes")
FORMAT = (
    "train_images and test_images (N, H, W, C) uint8, train_labels and test_labels (N,) int64, classes (K,) str"
)

Arrays = Mapping[str, np.ndarray]


def check(arrays: Arrays) -> None:
    """Raise ValueError, naming the array, unless ``arrays`` has ``KEYS`` in ``FORMAT`` and fits together."""
    missing = [key for key in KEYS if key not in arrays]
    expect(not missing, "arrays", "the names " + ", ".join(KEYS), "none named " + ", ".join(missing))
    classes = arrays["classes"]
    expect(classes.dtype.kind == "U" and classes.ndim == 1, "classes", "(K,) str", f"{classes.shape} {classes.dtype}")
    expect(len(set(classes)) == len(classes), "classes", "names that all differ", classes.tolist())
    for split in SPLITS:
        _check_split(split, arrays[f"{split}_images"], arrays[f"{split}_labels"], len(classes))
    train, test = (arrays[f"{split}_images"].shape[1:] for split in SPLITS)
    expect(train == test, "test_images", f"pictures of the shape {train}, as in train_images", test)


def _check_split(split: str, images: np.ndarray, labels: np.ndarray, classes: int) -> None:
    ok = images.dtype == np.uint8 and images.ndim == 4 and images.size > 0
    expect(ok, f"{split}_images", "(N, H, W, C) uint8, at least one", f"{images.shape} {images.dtype}")
    expect(labels.dtype == np.int64, f"{split}_labels", "dtype int64", labels.dtype)
    expect_labels(torch.from_numpy(labels), classes, len(images), f"{split}_labels")


def image_set(arrays: Arrays, split: str, name: str) -> ImageSet:
    """The ``split`` ('train' or 'test') of checked ``arrays``; byte b becomes the float b/255."""
    pixels = torch.from_numpy(arrays[f"{split}_images"]).permute(0, 3, 1, 2)
    images = pixels.to(torch.float32, memory_format=torch.contiguous_format).div_(255)
    labels = torch.from_numpy(arrays[f"{split}_labels"])
    return ImageSet(images, labels, tuple(arrays["classes"].tolist()), name)
