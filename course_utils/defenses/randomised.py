"""Randomness at test time: what is drawn for each look at a picture. ``attacks.expectation`` looks often and takes the mean."""
from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from course_utils.validate import expect, expect_count, expect_generator, expect_positive


class Noise:
    """Normal noise of standard deviation ``sigma``, kept in [0, 1]: a transform (x, generator) -> pictures.

    Raises ValueError unless ``sigma`` is above 0.
    """

    def __init__(self, sigma: float) -> None:
        expect_positive(sigma, "sigma")
        self.sigma = sigma

    def __call__(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        expect_generator(generator)
        noise = torch.randn(x.shape, generator=generator, device="cpu").to(x)
        return (x + self.sigma * noise).clamp(0, 1)


class Glimpses:
    """A window of each picture, ``size`` pixels square at a random place, enlarged to the picture's size: (x, generator) -> pictures.

    x is (B, C, H, W). Each picture has a place of its own. Enlarged bilinearly, so gradients flow back to the pixels that
    were seen. Raises ValueError for a ``size`` below 1, and, when called, for one larger than the picture.
    """

    def __init__(self, size: int) -> None:
        expect_count(size, "size")
        self.size = size

    def __call__(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        expect_generator(generator)
        count, _, height, side = x.shape
        expect(self.size <= min(height, side), "size", f"at most the picture's {min(height, side)} pixels", self.size)
        top, left = (torch.randint(most - self.size + 1, (count, 1), generator=generator, device="cpu").to(x.device) for most in (height, side))
        window = torch.arange(self.size, device=x.device)
        rows, columns = (top + window)[:, None, :, None], (left + window)[:, None, None, :]
        which = torch.arange(count, device=x.device).view(-1, 1, 1, 1), torch.arange(x.shape[1], device=x.device).view(1, -1, 1, 1)
        return interpolate(x[(*which, rows, columns)], (height, side), mode="bilinear", align_corners=False)
