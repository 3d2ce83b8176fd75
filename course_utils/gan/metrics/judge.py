"""The eye of the picture metrics: the hidden layer of a classifier that the course trains on the real data.

The inception network of the published Fréchet distances knows photographs; on digits a small classifier of
the same data sees what matters, needs no download, and is trained in seconds. Figures are therefore comparable
within this course, and not with published ones.
"""
from __future__ import annotations

import functools

import torch
from torch import Tensor

from course_utils import runtime
from course_utils.data import drawn, load
from course_utils.gan.metrics import kept
from course_utils.gan.metrics.attribute_judge import attribute_net
from course_utils.gan.metrics.frechet import frechet_distance
from course_utils.models.attribute_net import AttributeNet
from course_utils.models.classifier import ConvNet
from course_utils.training import evaluate, fit
from course_utils.validate import expect, expect_images

_EPOCHS = 12
_PICTURES = 10_000  # enough for a judge of any of the data sets, in seconds


@functools.cache
@torch.enable_grad()
def feature_net(name: str) -> ConvNet | AttributeNet:
    """The classifier for ``load(name)``, trained once and kept in ``<data_dir>/judges``; the same for every seed.

    For the pictures that the package draws it is the judge of their attributes, ``attribute_net(name)``.
    Raises ValueError for an unknown data set.
    """
    if name in drawn.NAMES:
        return attribute_net(name)
    data = load(name).take(min(_PICTURES, len(load(name))))
    train = lambda net: fit(net, data, epochs=_EPOCHS, batch=64, seed=0, mixed_precision=False, progress=False)  # noqa: E731
    return kept.judge(name, data, lambda: ConvNet(data.shape, len(data.classes)), train, f"{_EPOCHS} epochs")


@torch.no_grad()
def features(name: str, pictures: Tensor, batch: int = 500) -> Tensor:
    """Hidden values (N, 64) of ``pictures`` (N, C, H, W) in [0, 1], as the classifier for ``load(name)`` sees them."""
    expect_images(pictures, "pictures")
    net = feature_net(name)
    return torch.cat([net.features(part.to(runtime.device())) for part in pictures.split(batch)])


def picture_distance(name: str, pictures: Tensor, real: Tensor) -> float:
    """Fréchet distance of ``pictures`` (N, C, H, W) to ``real`` (M, C, H, W) in the features of ``load(name)``."""
    return frechet_distance(features(name, pictures), features(name, real))


def judge_accuracy(name: str) -> float:
    """Share of the test pictures of ``load(name)`` that the judge gets right.

    Raises ValueError for the pictures that the package draws: ``attribute_accuracy`` is for them.
    """
    expect(name not in drawn.NAMES, "name", "a data set with classes only (attribute_accuracy is for drawn ones)", repr(name))
    return evaluate(feature_net(name), load(name, split="test")).accuracy
