"""Skies and meadows, for horses and seasons."""
from __future__ import annotations

import numpy as np

from course_utils.data.drawn.canvas import Field, Random, colour, cover, ellipse, paint, shade

_TOP = ((0.32, 0.60, 0.93), (0.66, 0.71, 0.77), (0.52, 0.42, 0.70))  # clear, cloudy, evening
_LOW = ((0.76, 0.89, 0.99), (0.86, 0.88, 0.90), (1.00, 0.68, 0.42))


def sky(kind: np.ndarray, x: Field, y: Field, random: Random) -> np.ndarray:
    """(3, n, 32, 32): clear (0), cloudy (1) or evening (2), by the number ``kind`` (n,)."""
    tone = random.between(0.95, 1.04)
    share = np.clip((y + 16) / 15, 0, 1)
    pixels = colour(_TOP, kind) * tone * (1 - share) + colour(_LOW, kind) * tone * share
    clouds = (kind == 1).astype(np.float32)[:, None, None]
    for _ in range(2):
        cloud = ellipse(x - random.between(-13, 13), y - random.between(-14, -7), random.between(4, 7), random.between(1.5, 2.5))
        paint(pixels, cover(cloud, 2.5) * (0.15 + 0.75 * clouds), (0.97, 0.97, 0.98))
    return pixels


def grass(pixels: np.ndarray, below: Field, random: Random) -> None:
    """A meadow, with a wooded ridge behind it, over what lies ``below`` the horizon (> 0), in place."""
    green = (random.between(0.30, 0.44), random.between(0.58, 0.68), random.between(0.18, 0.26))
    woods = cover(-below - random.between(0.8, 2.2))
    paint(pixels, woods, (0.20, 0.38, 0.22))
    ground = cover(-below)
    paint(pixels, ground, green)
    shade(pixels, ground, 1.12 - 0.018 * below + 0.07 * random.grain())
