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

# The files that Keras downloads: no channel where there is only one, labels of any whole type, no names of classes.
KERAS = ("x_train", "y_train", "x_test", "y_test")
CLASSES = {
    "mnist": tuple("0123456789"),
    "fashion_mnist": ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    "cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
}

Arrays = Mapping[str, np.ndarray]


def with_channels(pixels: np.ndarray) -> np.ndarray:
    """Pictures (N, H, W) as (N, H, W, 1), others as they are."""
    return pixels[..., None] if pixels.ndim == 3 else pixels


def from_keras(stored: Arrays, name: str) -> Arrays:
    """The arrays that Keras keeps of the data set ``name`` (names ``KERAS``; labels (N,) or (N, 1)) under the names ``KEYS``.

    Raises ValueError for a data set whose classes nobody names here, and for labels that are no whole numbers.
    """
    expect(name in CLASSES, "name", f"one of {', '.join(CLASSES)}, whose classes have names", name)
    found = {"classes": np.array(CLASSES[name])}
    for split in SPLITS:
        labels = stored[f"y_{split}"]
        expect(labels.dtype.kind in "iu", f"y_{split}", "whole numbers", labels.dtype)
        found |= {f"{split}_images": with_channels(stored[f"x_{split}"]), f"{split}_labels": labels.reshape(-1).astype(np.int64)}
    return found


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
