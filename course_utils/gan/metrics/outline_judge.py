"""Where the object is in a picture: a judge of outlines, for the drawn data sets that have masks.

It is trained on drawn pictures and their masks, a little blurred, noisy, or of another brightness, and never sees a
generated one.
"""
from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from course_utils import runtime
from course_utils.data import drawn
from course_utils.data.drawn import AttributeSet
from course_utils.gan.metrics import kept
from course_utils.gan.metrics.attribute_judge import _spoilt
from course_utils.models.segmenter import Segmenter
from course_utils.training import adam
from course_utils.validate import expect, expect_images

_STEPS, _BATCH, _LR = 300, 32, 1e-2


@functools.cache
@torch.enable_grad()
def outline_net(name: str) -> Segmenter:
    """The judge of outlines of the drawn data set ``name``, trained once and kept in ``<data_dir>/judges``; the same for every seed.

    Raises ValueError for another name, listing those there are, and for a data set without masks.
    """
    drawn.values(name)
    data = drawn.load(name, drawn.judges_split(name))
    expect(data.masks is not None, "name", "a data set with masks", repr(name))
    return kept.judge(f"{name}-outline", data, Segmenter, functools.partial(_train, data=data), f"{_STEPS} x {_BATCH}, {_LR}")


def _train(net: Segmenter, data: AttributeSet) -> None:
    stream = torch.Generator().manual_seed(0)
    device = runtime.device()
    net.to(device).train()
    opt = adam(net.parameters(), _LR)
    schedule = torch.optim.lr_scheduler.OneCycleLR(opt, _LR, total_steps=_STEPS, pct_start=0.1)
    for _ in range(_STEPS):
        rows = torch.randint(len(data), (_BATCH,), generator=stream)
        x, mask = _spoilt(data.images[rows], stream).to(device), data.masks[rows].to(device)
        opt.zero_grad()
        binary_cross_entropy_with_logits(net(x), mask).backward()
        opt.step()
        schedule.step()


@torch.no_grad()
def outline(name: str, pictures: Tensor, batch: int = 500) -> Tensor:
    """Where the judge of ``load(name)`` sees the object in ``pictures`` (N, 3, 32, 32) in [0, 1]: (N, 1, 32, 32) bool, on the CPU."""
    net = outline_net(name)
    expect_images(pictures, "pictures")
    expect(tuple(pictures.shape[1:]) == drawn.SHAPE, "pictures", f"the shape (N, {', '.join(map(str, drawn.SHAPE))})", f"the shape {tuple(pictures.shape)}")
    return torch.cat([(net(part.to(runtime.device())) > 0).cpu() for part in pictures.split(batch)])


def overlap(found: Tensor, true: Tensor) -> Tensor:
    """Intersection over union of two areas a picture, (N, 1, H, W) bool each: (N,) in [0, 1], 1 for equal areas.

    Two empty areas are equal. Raises ValueError for other types and for shapes that differ.
    """
    expect(found.dtype == true.dtype == torch.bool, "found, true", "dtype torch.bool", f"{found.dtype}, {true.dtype}")
    expect(found.shape == true.shape, "true", f"the shape {tuple(found.shape)}", f"the shape {tuple(true.shape)}")
    both, either = (found & true).flatten(1).sum(dim=1), (found | true).flatten(1).sum(dim=1)
    return torch.where(either > 0, both / either.clamp(min=1), 1.0)
