"""Judges are trained once and kept in ``<data_dir>/judges``."""
from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from course_utils import runtime
from course_utils.data import ImageSet
from course_utils.training import checkpoint


def judge(file: str, data: ImageSet, make: Callable[[], nn.Module], train: Callable[[nn.Module], object], recipe: str) -> nn.Module:
    """The net that ``make`` builds and ``train`` trains for ``data``, from its file where it was trained before.

    Its first weights are the same for every seed, and no random stream is moved by them. ``file`` names it; other
    pictures, another net or another ``recipe`` of training make another one. Warns where it could not be kept.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = make()
    place = runtime.data_dir() / "judges" / f"{file}-{data.fingerprint()}-{_mark(net, recipe)}.pt"
    state = _kept(place)
    if state is None:
        train(net)
        _keep(place, net)
    else:
        net.load_state_dict(state["net"])
    return net.to(runtime.device()).eval().requires_grad_(False)


def _mark(net: nn.Module, recipe: str) -> str:
    shapes = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    return hashlib.sha256(repr((shapes, recipe)).encode()).hexdigest()[:8]


def _kept(place: Path) -> dict | None:
    try:
        return checkpoint.load(place, {"net"}, "judge", "it is trained anew, and the file replaced")
    except OSError as reason:
        warnings.warn(f"The judge at {place} can't be read ({reason}): it is trained anew.")
        return None


def _keep(place: Path, net: nn.Module) -> None:
    try:
        checkpoint.save(place, {"net": net.state_dict()})
    except OSError as reason:
        warnings.warn(f"The judge was trained but could not be kept at {place} ({reason}).")
