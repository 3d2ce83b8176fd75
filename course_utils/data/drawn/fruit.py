"""An apple or an orange, lying on a plain ground, with its outline as mask."""
from __future__ import annotations

import numpy as np

from course_utils.data.drawn.canvas import Field, Random, bar, colour, coordinates, cover, ellipse, length, number, paint, shade

VALUES = {
    "fruit": ("apple", "orange"),
    "leaf": ("no leaf", "leaf"),
    "background": ("white", "blue", "wood"),
}
CLASSES = VALUES["fruit"]
SIZES = {"train": 4_000, "test": 1_000}

BACKGROUND = ((0.93, 0.93, 0.92), (0.55, 0.72, 0.88), (0.74, 0.57, 0.40))
PEEL = ((0.80, 0.09, 0.10), (0.97, 0.55, 0.08))  # apple, orange
LEAF, STALK = (0.20, 0.52, 0.18), (0.32, 0.21, 0.12)


def labels(attributes: dict[str, np.ndarray]) -> np.ndarray:
    """The class of each picture: its fruit."""
    return attributes["fruit"]


def draw(attributes: dict[str, np.ndarray], random: Random) -> tuple[np.ndarray, Field]:
    """Pictures (3, n, 32, 32) float32 with these attributes (n,), and how far fruit, stalk and leaf cover each pixel."""
    x, y = coordinates()
    pixels = colour(BACKGROUND, attributes["background"]) * random.between(0.95, 1.04) * (1.05 - 0.004 * (y + 16))
    _grain_of_wood(pixels, y, number(attributes["background"] == 2), random)
    x, y = coordinates(random.between(-2, 2), random.between(0, 2), random.between(0.85, 1.08), random.between(-0.15, 0.15))
    orange, leaf = number(attributes["fruit"]), number(attributes["leaf"])

    wide, high = random.between(10.2, 11.2), random.between(9.8, 10.6)
    round_ = ellipse(x, y, wide - 0.4 * orange, high)
    lobes = np.minimum(ellipse(np.abs(x) - 4.1, y + 0.6, 7.0, high - 0.4), ellipse(np.abs(x) - 3.0, y - 1.4, 6.6, high - 0.8))
    outside = np.where(orange == 1, round_, lobes)
    coverage = cover(outside)
    shade(pixels, cover(ellipse(x - 2, y - 9.5, 12, 3.2), 4), 0.72)  # the shadow it throws
    tone = random.between(0.92, 1.06)
    paint(pixels, coverage, colour(PEEL, attributes["fruit"]) * tone)
    _blush(pixels, x, y, coverage * (1 - orange), random)
    ball = np.clip(length(x + 3.5, y + 4) / 15, 0, 1)
    shade(pixels, coverage, 1.12 - 0.55 * ball * ball)  # a ball, lit from above at the left
    _dimples(pixels, x, y, coverage * orange, random)
    _hollow(pixels, x, y, orange, coverage)
    paint(pixels, cover(ellipse(x + 4.2, y + 4.6, 2.2, 1.5), 2.5) * 0.62, (1, 1, 1))

    top = 5.2 + 0.25 * high
    stalk = bar(x, y, (0, -top), (random.between(-0.3, 1.6), -top - 4.2 + 2.6 * orange), 0.65 + 0.3 * orange)
    blade_x, blade_y = x - 4.4, y + top + 2.4
    blade = ellipse(0.94 * blade_x - 0.34 * blade_y, 0.94 * blade_y + 0.34 * blade_x, 4.2, 1.9)
    paint(pixels, cover(blade) * leaf, LEAF)
    shade(pixels, cover(np.abs(0.94 * blade_y + 0.34 * blade_x) - 0.15) * cover(blade) * leaf, 0.7)
    paint(pixels, cover(stalk), STALK)
    return pixels, np.maximum(np.maximum(coverage, cover(stalk)), cover(blade) * leaf)


def _grain_of_wood(pixels: np.ndarray, y: Field, wood: Field, random: Random) -> None:
    """Planks: three dark lines, and rows that are a little lighter or darker."""
    rows = random.grain()[:, :, :1]
    shade(pixels, wood, 1 + 0.05 * rows)
    joint = y - random.between(-2, 2)
    shade(pixels, wood * cover(np.minimum(np.abs(joint), np.minimum(np.abs(joint - 9), np.abs(joint + 9))) - 0.3), 0.72)


def _blush(pixels: np.ndarray, x: Field, y: Field, coverage: Field, random: Random) -> None:
    """One side of an apple is yellow, more or less."""
    side = cover(ellipse(x - random.between(2, 7), y - random.between(-3, 5), 4.5, 6), 8)
    paint(pixels, side * coverage * random.between(0, 0.6), (0.93, 0.78, 0.25))


def _dimples(pixels: np.ndarray, x: Field, y: Field, coverage: Field, random: Random) -> None:
    shade(pixels, coverage, 1 + 0.10 * random.grain())


def _hollow(pixels: np.ndarray, x: Field, y: Field, orange: Field, coverage: Field) -> None:
    """Where the stalk comes out: a deep hollow in an apple, a small star in an orange."""
    deep = cover(ellipse(x, y + 7.4, 3.8, 1.6), 2.5) * (1 - orange)
    shade(pixels, coverage * deep, 0.62)
    paint(pixels, coverage * cover(length(x, y + 7.6) - 1.7) * orange, (0.42, 0.50, 0.16))
