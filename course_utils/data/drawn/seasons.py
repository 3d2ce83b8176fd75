"""The same kind of landscape in summer or in winter: mountains, fir trees, perhaps a house. No masks."""
from __future__ import annotations

import numpy as np

from course_utils.data.drawn.canvas import Field, Random, bar, box, colour, coordinates, cover, number, paint, shade
from course_utils.data.drawn.landscape import sky

VALUES = {
    "season": ("summer", "winter"),
    "sky": ("clear", "cloudy", "evening"),
    "house": ("no house", "house"),
}
CLASSES = VALUES["season"]
SIZES = {"train": 4_000, "test": 1_000}

ROCK = ((0.42, 0.47, 0.55), (0.55, 0.60, 0.68))  # summer, winter; and so on
HILL = ((0.36, 0.58, 0.28), (0.86, 0.89, 0.94))
MEADOW = ((0.46, 0.72, 0.26), (0.95, 0.96, 0.98))
FIR = ((0.12, 0.38, 0.18), (0.16, 0.32, 0.26))
SNOW, TRUNK, WALL, ROOF, WINDOW = (0.97, 0.98, 1.0), (0.30, 0.20, 0.13), (0.85, 0.72, 0.55), (0.66, 0.22, 0.16), (1.0, 0.88, 0.45)


def labels(attributes: dict[str, np.ndarray]) -> np.ndarray:
    """The class of each picture: its season."""
    return attributes["season"]


def draw(attributes: dict[str, np.ndarray], random: Random) -> tuple[np.ndarray, None]:
    """Pictures (3, n, 32, 32) float32 with these attributes (n,); no masks."""
    x, y = coordinates()
    season = attributes["season"]
    winter = number(season)
    tone = random.between(0.94, 1.05)
    pixels = sky(attributes["sky"], x, y, random)
    _mountain(pixels, x - random.between(-10, -4), y, random.between(-11, -7), season, winter)
    _mountain(pixels, x - random.between(4, 10), y, random.between(-9, -5), season, winter)
    hill = y - random.between(-1, 1.5) - random.between(0.008, 0.016) * (x - random.between(-8, 8)) * x
    paint(pixels, cover(-hill), colour(HILL, season) * tone)
    ground = y - random.between(4, 6) - random.between(-0.08, 0.08) * x
    paint(pixels, cover(-ground), colour(MEADOW, season) * tone)
    shade(pixels, cover(-ground), 1.05 - 0.010 * ground + (0.06 - 0.04 * winter) * random.grain())
    right = 2 * number(random.choice(2)) - 1  # the side of the house; most of the trees are on the other
    _house(pixels, right * x - random.between(6, 9), y - random.between(4.5, 6), number(attributes["house"]), winter)
    for near in (0, 1, 2):
        where = right * x - random.between(-14, -9) - (0, 6.5, 3)[near]
        _fir(pixels, where, y - random.between(6, 7.5) - (0, 1, 4)[near], random.between(0.75, 0.95) + 0.12 * near, season, winter)
    return pixels, None


def _mountain(pixels: np.ndarray, x: Field, y: Field, top: Field, season: np.ndarray, winter: Field) -> None:
    """A peak at (0, top); snow down to a jagged line, much lower in winter."""
    slope = (np.abs(x) - (y - top) * 1.15) * 0.66
    coverage = cover(slope)
    paint(pixels, coverage, colour(ROCK, season))
    folds = x / 4 - np.floor(x / 4)
    jagged = y - top - 2.0 - 6.5 * winter + 2.4 * np.abs(folds - 0.5)
    paint(pixels, coverage * cover(jagged), SNOW)
    shade(pixels, coverage * cover(-x, 2), 0.86)  # its shady side


def _house(pixels: np.ndarray, x: Field, y: Field, there: Field, winter: Field) -> None:
    paint(pixels, cover(box(x, y + 0.2, 4.2, 3.2)) * there, WALL)
    shade(pixels, cover(box(x, y - 3.0, 4.4, 0.6)) * there, 0.8)
    roof = np.maximum(np.abs(x) * 0.62 + (y + 7.6) * -0.78, y + 3.0)
    paint(pixels, cover(roof) * there, ROOF)
    paint(pixels, cover(np.maximum(roof, -roof - 2.3)) * cover(y + 3.4) * there * winter, SNOW)
    paint(pixels, cover(box(np.abs(x) - 1.9, y + 0.8, 0.9, 0.9)) * there, WINDOW)


def _fir(pixels: np.ndarray, x: Field, y: Field, size: Field, season: np.ndarray, winter: Field) -> None:
    """Three tiers, each with snow on its upper side in winter."""
    x, y = x / size, y / size
    paint(pixels, cover(bar(x, y, (0, 0), (0, 2.2), 0.7)), TRUNK)
    for low, wide in ((0.6, 4.4), (-3.0, 3.5), (-6.2, 2.5)):
        height = wide * 1.35
        side = (np.abs(x) - (y - low + height) * 0.74) * 0.80
        tier = np.maximum(side, y - low)
        paint(pixels, cover(tier), colour(FIR, season))
        shade(pixels, cover(tier) * cover(-x, 2), 0.82)
        paint(pixels, cover(np.maximum(tier, -side - 1.1)) * winter * 0.92, SNOW)
