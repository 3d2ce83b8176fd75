"""One plain classifier, with or without convolutions in front, whose units and outputs can be chosen."""
from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from course_utils.validate import expect, expect_count


class Shift(nn.Module):
    """x in [0, 1] around 0: x - 1/2."""

    def forward(self, x: Tensor) -> Tensor:
        return x - 0.5


def layered(
    shape: Sequence[int], outputs: int, *, maps: Sequence[int] = (), widths: Sequence[int] = (256, 256), unit: Callable[[], nn.Module] = nn.ReLU, drop: float = 0.0,
) -> nn.Sequential:
    """Pictures (B, *shape) in [0, 1] to (B, ``outputs``): convolutions, fully connected layers, and a linear one that is the Sequential's last.

    maps    channels of 5x5 convolutions of stride 2, none for a fully connected net
    widths  of the hidden fully connected layers, at least one
    unit    builds the non-linearity
    drop    the share of hidden values, of the fully connected layers, that training sets to 0

    Raises ValueError for counts below 1, no widths, and a share outside [0, 1).
    """
    expect_count(outputs, "outputs")
    expect(len(widths) > 0, "widths", "at least one hidden layer", tuple(widths))
    for name, sizes in (("maps", maps), ("widths", widths)):
        for size in sizes:
            expect_count(size, name)
    expect(0 <= drop < 1, "drop", "a share from 0, below 1", drop)
    layers: list[nn.Module] = [Shift()]
    channels = shape[0]
    for size in maps:
        layers += [nn.Conv2d(channels, size, 5, stride=2, padding=2), unit()]
        channels = size
    layers.append(nn.Flatten())
    with torch.no_grad():
        inputs = nn.Sequential(*layers)(torch.zeros(1, *shape)).shape[1]
    for size in widths:
        layers += [nn.Linear(inputs, size), unit()] + [nn.Dropout(drop)] * (drop > 0)
        inputs = size
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))
