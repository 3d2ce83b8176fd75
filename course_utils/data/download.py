"""Downloads, through torchvision, which knows the mirrors and checks what arrives."""
from __future__ import annotations

import tempfile

import numpy as np

from course_utils.data import cache
from course_utils.data.arrays import FORMAT, KERAS, SPLITS, Arrays, with_channels
from course_utils.data.by_hand import QUICK, or_by_hand

# The name here -> the class in torchvision.datasets.
SOURCES = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "cifar10": "CIFAR10"}


def fetch(name: str) -> Arrays:
    """Download ``name``, one of ``SOURCES``, and return its arrays; the raw files are removed.

    Raises RuntimeError when it can't be downloaded, saying how to do without, and OSError when there is
    no room for the raw files below ``runtime.data_dir()``.
    """
    import torchvision.datasets  # takes a second, which only a download needs

    source = getattr(torchvision.datasets, SOURCES[name])
    path = cache.path_of(name)
    how = f"To do without a network, put that file there by hand: an .npz with {FORMAT}; or Keras's, with {', '.join(KERAS)}.", QUICK
    with cache.writing(path), tempfile.TemporaryDirectory(prefix=f".{name}-", dir=path.parent) as folder:
        with or_by_hand(name, path, *how):
            return _arrays(source, folder)


def _arrays(source: type, folder: str) -> Arrays:
    found = {}
    for split in SPLITS:
        data = source(root=folder, train=split == "train", download=True)
        found[f"{split}_images"] = with_channels(np.asarray(data.data))
        found[f"{split}_labels"] = np.asarray(data.targets, dtype=np.int64)
    found["classes"] = np.array([label.split(" - ")[0] for label in data.classes])  # MNIST: "3 - three"
    return found

