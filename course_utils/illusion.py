"""Concentric circles that look like spirals (Fraser 1908; Pinna and Gregory 2002), and a ruler for them.

The rings are made of small squares, outlined in white and black by turns, each a little turned against its ring. The eye joins
neighbouring edges to lines, which lead inwards. The ruler doesn't look: it goes round the centre and reads off radii.
"""
from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from course_utils.validate import expect, expect_count, expect_images

GREY = 0.5
RADII = (0.32, 0.46, 0.6, 0.74, 0.88)


def draw(tilt: float = 15.0, *, spiral: bool = False, radii: Sequence[float] = RADII, size: int = 480) -> Tensor:
    """A picture (1, 1, ``size``, ``size``) of rings of squares, grey 0.5 around them.

    tilt     degrees that every square is turned against its ring, on neighbouring rings in opposite directions; 0: not turned
    spiral   the control: after a turn each line arrives at the next one's radius
    radii    of the rings, rising, as shares of half the picture's side, evenly spaced and below 0.95
    size     pixels a side, at least 64

    Raises ValueError, naming the argument, for anything else.
    """
    expect(isinstance(tilt, (int, float)) and -45 < tilt < 45, "tilt", "degrees between -45 and 45", repr(tilt))
    expect_count(size, "size", 64)
    gaps = [b - a for a, b in zip(radii, radii[1:])]
    even = len(radii) >= 2 and 0 < radii[0] and radii[-1] < 0.95 and min(gaps) > 0 and max(gaps) - min(gaps) < 1e-6
    expect(even, "radii", "at least two, rising and evenly spaced, between 0 and 0.95", tuple(radii))
    fine = torch.full((2 * size, 2 * size), GREY, device="cpu")
    for ring, radius in enumerate(radii):
        _draw_ring(fine, radius, gaps[0], math.radians(tilt) * (-1) ** ring, spiral)
    return torch.nn.functional.avg_pool2d(fine[None, None], 2)


def _draw_ring(picture: Tensor, radius: float, gap: float, tilt: float, spiral: bool) -> None:
    """The squares of one ring, in white and black by turns."""
    size, half = len(picture), 0.31 * gap
    axis = (2 * torch.arange(size, device=picture.device) + 1) / size - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    count = 2 * round(math.pi * radius / (1.28 * 2 * half))
    for number in range(count):
        angle = 2 * math.pi * number / count
        at = radius + gap * (number / count - 0.5) * spiral
        turned = angle + tilt
        a = (x - at * math.cos(angle)) * math.cos(turned) + (y - at * math.sin(angle)) * math.sin(turned)
        b = (y - at * math.sin(angle)) * math.cos(turned) - (x - at * math.cos(angle)) * math.sin(turned)
        edge = torch.maximum(a.abs(), b.abs())
        picture[(edge <= half) & (edge >= 0.7 * half)] = number % 2


def unroll(picture: Tensor, *, angles: int = 720, steps: int = 240) -> Tensor:
    """How far each point of ``picture`` (1, 1, H, H) is from grey, over angle and radius: (``angles``, ``steps``), radius 0 to 1."""
    expect_images(picture, "picture")
    expect(picture.shape[:2] == (1, 1) and picture.shape[2] == picture.shape[3], "picture", "one grey square, (1, 1, H, H)", tuple(picture.shape))
    expect_count(angles, "angles", 8)
    expect_count(steps, "steps", 8)
    angle = 2 * math.pi * torch.arange(angles, device=picture.device) / angles
    radius = (torch.arange(steps, device=picture.device) + 0.5) / steps
    where = radius[None, :, None] * torch.stack([angle.cos(), angle.sin()], dim=-1)[:, None]
    return torch.nn.functional.grid_sample((picture - GREY).abs(), where[None], align_corners=False)[0, 0]


def follow(unrolled: Tensor, start: float, gap: float) -> Tensor:
    """Go once round the centre along the line that begins at radius ``start``: its radius at each angle, (angles,).

    At each angle: the middle of the ink within ``gap`` / 2 of where the line was a moment ago, over an eighth of a turn,
    so that no single square counts for much.
    """
    angles, steps = unrolled.shape
    radius = (torch.arange(steps, device=unrolled.device) + 0.5) / steps
    reach, at, found = angles // 16, float(start), []
    for angle in range(angles):
        ink = unrolled[max(angle - reach, 0) : angle + reach + 1].sum(dim=0)  # within the turn: a spiral has a seam
        weight = ink * ((radius - at).abs() < gap / 2)
        at = float((weight * radius).sum() / weight.sum())
        found.append(at)
    return torch.tensor(found, device=unrolled.device)


def local_tilt(picture: Tensor, radius: float, gap: float) -> float:
    """What the edges say: degrees, -45 to 45, by which those within ``gap`` / 2 of ``radius`` are turned against the circle.

    Edges come at right angles, so their directions are averaged as angles times four, weighted by their strength.
    """
    expect_images(picture, "picture")
    grey = picture[0, 0]
    down, across = torch.gradient(grey)
    size = len(grey)
    axis = (2 * torch.arange(size, device=grey.device) + 1) / size - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    near = ((x.square() + y.square()).sqrt() - radius).abs() < gap / 2
    turned = 4 * (torch.atan2(down, across) - torch.atan2(y, x))[near]
    strength = (down.square() + across.square())[near]
    return math.degrees(torch.atan2((strength * turned.sin()).sum(), (strength * turned.cos()).sum()).item() / 4)
