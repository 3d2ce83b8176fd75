"""What is in a picture: a judge that names the attributes of the pictures that the package draws.

It is trained on drawn pictures and never sees a generated one. A generator's pictures are not as clean as drawn ones;
so it learns from pictures that are a little blurred, noisy, or of another brightness.
"""
from __future__ import annotations

import functools
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from course_utils import runtime
from course_utils.data import drawn, load
from course_utils.data.drawn import AttributeSet
from course_utils.gan.metrics import kept
from course_utils.models.attribute_net import AttributeNet
from course_utils.training import adam
from course_utils.validate import expect, expect_images

_BATCH, _LR = 64, 6e-3
_STEPS = {name: 250 for name in drawn.NAMES} | {"shapes": 500}  # small shapes at any place take longer


@functools.cache
@torch.enable_grad()
def attribute_net(name: str) -> AttributeNet:
    """The judge of the drawn data set ``name``, trained once and kept in ``<data_dir>/judges``; the same for every seed.

    Raises ValueError, listing the drawn data sets, for another name.
    """
    counts = {key: len(names) for key, names in drawn.values(name).items()}
    data = drawn.load(name, drawn.judges_split(name))
    make, train = functools.partial(AttributeNet, data.shape, counts), functools.partial(_train, data=data, steps=_STEPS[name])
    return kept.judge(f"{name}-attributes", data, make, train, f"{_STEPS[name]} x {_BATCH}, {_LR}")


def _train(net: AttributeNet, data: AttributeSet, steps: int) -> None:
    """Adam with a learning rate that falls to 0; the loss is the sum of the attributes' cross entropies."""
    stream = torch.Generator().manual_seed(0)
    device = runtime.device()
    net.to(device, memory_format=torch.channels_last).train()
    opt = adam(net.parameters(), _LR)
    schedule = torch.optim.lr_scheduler.OneCycleLR(opt, _LR, total_steps=steps, pct_start=0.1)
    for _, rows in zip(range(steps), _rows(len(data), stream)):
        x = _spoilt(data.images[rows], stream).to(device, memory_format=torch.channels_last)
        answers = net(x)
        loss = sum(F.cross_entropy(answers[key], truth[rows].to(device)) for key, truth in data.attributes.items())
        opt.zero_grad()
        loss.backward()
        opt.step()
        schedule.step()
    net.to(memory_format=torch.contiguous_format)


def _rows(count: int, stream: torch.Generator) -> Iterator[Tensor]:
    """Batches of positions, every picture once before any comes again."""
    while True:
        yield from torch.randperm(count, generator=stream)[: count - count % _BATCH].split(_BATCH)


def _spoilt(x: Tensor, stream: torch.Generator) -> Tensor:
    """Pictures (B, 3, H, W), each as it is, or blurred, noisy and brighter or darker to some degree of its own."""
    blur, noise, light = torch.rand(3, len(x), 1, 1, 1, generator=stream)
    soft = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
    x = torch.lerp(x, soft, 0.8 * blur) + 0.08 * noise * torch.randn(x.shape, generator=stream)
    return (x + 0.1 * (light - 0.5)).clamp(0, 1)


@torch.no_grad()
def attribute_probabilities(name: str, pictures: Tensor, batch: int = 500) -> dict[str, Tensor]:
    """How likely the judge of ``load(name)`` takes each value: attribute -> (N, values), on the CPU.

    ``pictures`` (N, 3, 32, 32) in [0, 1]. Raises ValueError for others, and for a data set that is not drawn.
    """
    net, shape = attribute_net(name), drawn.SHAPE
    expect_images(pictures, "pictures")
    expect(tuple(pictures.shape[1:]) == shape, "pictures", f"the shape (N, {', '.join(map(str, shape))})", f"the shape {tuple(pictures.shape)}")
    parts = [net(part.to(runtime.device())) for part in pictures.split(batch)]
    return {key: torch.cat([part[key] for part in parts]).softmax(dim=1).cpu() for key in drawn.values(name)}


def attributes(name: str, pictures: Tensor) -> dict[str, Tensor]:
    """What the judge of ``load(name)`` sees in ``pictures`` (N, 3, 32, 32): attribute -> the number of its value, (N,)."""
    return {key: part.argmax(dim=1) for key, part in attribute_probabilities(name, pictures).items()}


def attribute_accuracy(name: str) -> dict[str, float]:
    """Share of the test pictures of ``load(name)`` that the judge gets right, by attribute."""
    test = load(name, "test")
    seen = attributes(name, test.images)
    return {key: (seen[key] == truth).float().mean().item() for key, truth in test.attributes.items()}
