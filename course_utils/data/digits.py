"""scikit-learn's 1,797 handwritten digits, enlarged to the size of MNIST: real input without a network.

They come as 8x8 counts of ink from 0 to 16 that fill the frame from top to bottom. Here each gets a
margin of one empty cell, is enlarged from 10x10 to 28x28 by bicubic interpolation, and its contrast is
raised half as much again around mid-grey, because interpolation blurs strokes that were crisp on paper.
The result is rounded to 256 levels, as MNIST is, so that it is the same on every machine, bit for bit.
"""
from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from course_utils.data.arrays import Arrays

CONTRAST = 1.5
TEST_EVERY = 5


def arrays() -> Arrays:
    """1,437 training and 360 test pictures (28, 28, 1) in the format of ``data.arrays``.

    The split is a rule, not a draw, and takes the same share of every class: with the digits sorted by
    class, in scikit-learn's order within it, every fifth is a test picture. As in a random split, the
    same writers are on both sides.
    """
    from sklearn.datasets import load_digits  # takes a second, which only this data set needs

    digits = load_digits()
    images = _enlarge(torch.from_numpy(digits.images) / 16).unsqueeze(-1).numpy()
    labels = digits.target.astype(np.int64)
    test = np.zeros(len(labels), dtype=bool)
    test[np.argsort(labels, kind="stable")[::TEST_EVERY]] = True
    return {
        "train_images": images[~test],
        "train_labels": labels[~test],
        "test_images": images[test],
        "test_labels": labels[test],
        "classes": digits.target_names.astype(str),
    }


def _enlarge(ink: Tensor) -> Tensor:
    """(N, 8, 8) float64 in [0, 1] -> (N, 28, 28) uint8."""
    grey = interpolate(pad(ink, (1, 1, 1, 1)).unsqueeze(1), size=(28, 28), mode="bicubic").squeeze(1)
    grey = ((grey - 0.5) * CONTRAST + 0.5).clamp(0, 1)
    # The 1e-6 sends exact halves up, whatever the last bit of the interpolation was on this machine.
    return (grey * 255 + 0.5 + 1e-6).floor().to(torch.uint8)
