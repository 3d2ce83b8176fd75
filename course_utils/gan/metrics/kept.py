"""Judges are trained once and kept in ``<data_dir>/judges``."""
from __future__ import annotations

import warnings
from collections.abc import Callable

import torch

from course_utils import runtime
from course_utils.data import ImageSet
from course_utils.models.classifier import ConvNet
from course_utils.training import checkpoint


def judge(data: ImageSet, file: str, outputs: int, train: Callable[[ConvNet], object]) -> ConvNet:
    """A ConvNet with ``outputs`` logits that ``train`` has trained for ``data``, or that did so before: ready to judge.

    Its first weights are the same for every seed, and no random stream is moved by them. ``file`` names it; pictures
    that change make another one. Warns where it could not be kept.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = ConvNet(data.shape, outputs)
    place = runtime.data_dir() / "judges" / f"{file}-{data.fingerprint()}.pt"
    state = checkpoint.load(place, {"net"})
    if state is None:
        train(net)
        _keep(place, net)
    else:
        net.load_state_dict(state["net"])
    return net.to(runtime.device()).eval().requires_grad_(False)


def _keep(place, net: ConvNet) -> None:
    try:
        checkpoint.save(place, {"net": net.state_dict()})
    except OSError as reason:
        warnings.warn(f"The judge was trained but could not be kept at {place} ({reason}).")
