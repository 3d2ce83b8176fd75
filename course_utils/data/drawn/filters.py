"""What a picture gives away without its colours: its edges, its brightness."""
from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from course_utils.validate import expect, expect_images

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601: how bright the eye sees red, green and blue
_SOBEL = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))


def grey(pictures: Tensor) -> Tensor:
    """The luma of colour pictures (N, 3, H, W) in [0, 1]: (N, 1, H, W) in [0, 1].

    Raises ValueError for anything but colour pictures.
    """
    expect_images(pictures, "pictures")
    expect(pictures.shape[1] == 3, "pictures", "3 channels", pictures.shape[1])
    weights = pictures.new_tensor(LUMA).reshape(1, 3, 1, 1)
    return (pictures * weights).sum(dim=1, keepdim=True).clamp(0, 1)


def edges(pictures: Tensor, low: float = 0.15, high: float = 0.5) -> Tensor:
    """A drawing in lines of pictures (N, C, H, W) in [0, 1]: (N, 1, H, W), 1 on an edge and 0 where it is even.

    Steepness by Sobel's filter (1 for a step from black to white), in the channel where it is greatest: blond hair
    before grey is an edge, though one is as bright as the other. It is cut softly: 0 up to ``low``, 1 from ``high``.
    Raises ValueError for anything but pictures, and unless 0 <= low < high.
    """
    expect_images(pictures, "pictures")
    expect(0 <= low < high, "low, high", "0 <= low < high", (low, high))
    slope = pictures.new_tensor(_SOBEL) / 4
    kernels = torch.stack([slope, slope.T]).unsqueeze(1)
    channels = pad(pictures, (1, 1, 1, 1), mode="replicate").flatten(0, 1).unsqueeze(1)
    steepness = conv2d(channels, kernels).square().sum(dim=1).sqrt().reshape(pictures.shape).amax(dim=1, keepdim=True)
    return ((steepness - low) / (high - low)).clamp(0, 1)
