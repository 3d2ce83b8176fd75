"""Nets of a class-conditional GAN (Mirza and Osindero 2014) in the shapes of the DCGAN."""
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from course_utils.models.dcgan import DCCritic, DCGenerator
from course_utils.validate import expect_count, expect_label_form, expect_labels


def _one_hot(y: Tensor, classes: int, count: int) -> Tensor:
    """Class numbers (B,) -> (B, classes) float, 1 at the class and 0 elsewhere.

    The numbers themselves are not read, which would wait for a GPU: writing the ones finds what is out of range.
    """
    expect_label_form(y, count, "y")
    rows = torch.zeros(count, classes, device=y.device, dtype=torch.float32)
    try:
        return rows.scatter_(1, y[:, None], 1.0)
    except RuntimeError:
        expect_labels(y, classes, count, "y")  # says which number it was
        raise


class ConditionalGenerator(nn.Module):
    """z (B, ``latent``) and class numbers y (B,) to pictures (B, *shape) in [0, 1]: the DCGAN's generator of z and a one-hot y.

    Raises ValueError for class numbers outside 0 … classes-1; on a GPU these end in CUDA's own assertion.
    """

    def __init__(self, latent: int, classes: int, shape: Sequence[int], width: int = 32) -> None:
        super().__init__()
        expect_count(latent, "latent")
        expect_count(classes, "classes")
        self.classes = classes
        self.net = DCGenerator(latent + classes, shape, width)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        return self.net(torch.cat([z, _one_hot(y, self.classes, len(z))], dim=1))


class ConditionalCritic(nn.Module):
    """Pictures x (B, *shape) in [0, 1] and class numbers y (B,) to logits (B,): is this *pair* real?

    The DCGAN's critic of the picture and of one more channel for each class, 1 all over for the class y and 0 for the others.
    Raises ValueError for class numbers outside 0 … classes-1; on a GPU these end in CUDA's own assertion.
    """

    def __init__(self, classes: int, shape: Sequence[int], width: int = 32) -> None:
        super().__init__()
        expect_count(classes, "classes")
        self.classes = classes
        channels, height, side = shape
        self.net = DCCritic((channels + classes, height, side), width)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        planes = _one_hot(y, self.classes, len(x))[:, :, None, None].expand(-1, -1, *x.shape[2:])
        return self.net(torch.cat([x, planes], dim=1))
