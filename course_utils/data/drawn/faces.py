"""Faces: woman or man, smiling or not, with or without glasses; hair, skin and background of several colours.

All attributes are drawn independently of each other and all their values are as likely. What else varies (pose, light,
shape of head and hair, beards of some men, clothes) has no attribute.
"""
from __future__ import annotations

import numpy as np

from course_utils.data.drawn.canvas import (
    Field, Random, bar, box, colour, coordinates, cover, ellipse, length, number, paint, shade,
)

VALUES = {
    "gender": ("woman", "man"),
    "smile": ("serious", "smiling"),
    "glasses": ("no glasses", "glasses"),
    "hair": ("black", "brown", "blond", "red"),
    "skin": ("light", "medium", "dark"),
    "background": ("blue", "green", "violet", "grey"),
}
CLASSES = ("woman", "smiling woman", "man", "smiling man")
SIZES = {"train": 10_000, "test": 2_000}

HAIR = ((0.10, 0.09, 0.11), (0.40, 0.23, 0.12), (0.93, 0.77, 0.38), (0.76, 0.29, 0.09))
SKIN = ((0.97, 0.81, 0.70), (0.80, 0.58, 0.42), (0.52, 0.34, 0.23))
BACKGROUND = ((0.42, 0.62, 0.86), (0.50, 0.74, 0.52), (0.68, 0.55, 0.84), (0.76, 0.77, 0.79))
LIPS = ((0.80, 0.12, 0.20), (0.66, 0.36, 0.32))  # woman, man
CLOTHES = ((0.75, 0.25, 0.25), (0.22, 0.32, 0.55), (0.92, 0.92, 0.90), (0.25, 0.45, 0.35), (0.20, 0.20, 0.24))
WHITE, INK = (0.99, 0.98, 0.96), (0.10, 0.08, 0.09)


def labels(attributes: dict[str, np.ndarray]) -> np.ndarray:
    """The number of the class, gender x smile, of each picture."""
    return 2 * attributes["gender"] + attributes["smile"]


def draw(attributes: dict[str, np.ndarray], random: Random) -> tuple[np.ndarray, None]:
    """Pictures (3, n, 32, 32) float32 of faces with these attributes (n,); no masks."""
    man = number(attributes["gender"])
    x, y = coordinates(random.between(-1, 1), random.between(-0.7, 0.7), random.between(1.02, 1.12), random.between(-0.08, 0.08))
    turn = random.between(-1.2, 1.2)  # how far the features lie from the middle of the head: it looks aside
    light = random.between(-0.014, 0.014)
    tone = lambda table, name, spread: colour(table, attributes[name]) * random.between(1 - spread, 1 + spread)  # noqa: E731
    hair, skin, back = tone(HAIR, "hair", 0.08), tone(SKIN, "skin", 0.05), tone(BACKGROUND, "background", 0.07)
    head = ellipse(x, y - 1, random.between(8.2, 8.9) + 0.3 * man, random.between(10.1, 10.7) + 0.2 * man)

    pixels = back * (1.04 - random.between(0, 0.012) * (y + 16)) * np.ones((3, 1, 1, 1), np.float32)
    _hair_behind(pixels, x, y, man, hair, random)
    _body(pixels, x, y, man, skin, random)
    _ears(pixels, x, y, man, skin)
    paint(pixels, cover(head), skin)
    shade(pixels, cover(head), 1 - 0.16 * np.clip(1 + head / 4, 0, 1) + light * x)  # darker to the rim, lit from a side
    _beard(pixels, x, y, man, hair, head, random)
    _hair_in_front(pixels, x, y, man, hair, random)
    _nose(pixels, x - turn, y)
    _eyes(pixels, x - turn, y, man, hair, random)
    _mouth(pixels, x - 0.8 * turn, y, number(attributes["smile"]), man, attributes["gender"], skin, random)
    _glasses(pixels, x - turn, y, number(attributes["glasses"]), random)
    return pixels, None


def _hair_behind(pixels: np.ndarray, x: Field, y: Field, man: Field, hair: np.ndarray, random: Random) -> None:
    """A woman's falls beside the face to the shoulders, a man's ends above the ears."""
    wide, low = random.between(10.9, 12.2), random.between(12.5, 16)
    long = np.minimum(ellipse(x, y + 1.5, wide, 11.5), box(x, y - (low - 2) / 2, wide, (low + 2) / 2, 4))
    short = np.maximum(ellipse(x, y + 1.2, 9.9, 11.0), y - 1)
    coverage = cover(long) * (1 - man) + cover(short) * man
    paint(pixels, coverage, hair)
    shade(pixels, coverage, 0.80 + 0.02 * np.minimum(np.abs(x), 10))  # darker towards the neck


def _body(pixels: np.ndarray, x: Field, y: Field, man: Field, skin: np.ndarray, random: Random) -> None:
    clothes = colour(CLOTHES, random.choice(len(CLOTHES))) * random.between(0.9, 1.05)
    paint(pixels, cover(ellipse(x, y - 20, 13.5 + 2 * man, 6.5 + man)), clothes)
    neck = cover(box(x, y - 12, 3.2 + 0.9 * man, 4, 1))
    paint(pixels, neck, skin * 0.80)


def _ears(pixels: np.ndarray, x: Field, y: Field, man: Field, skin: np.ndarray) -> None:
    paint(pixels, cover(ellipse(np.abs(x) - 9, y - 1, 1.3, 2.1)) * man, skin * 0.86)


def _hair_in_front(pixels: np.ndarray, x: Field, y: Field, man: Field, hair: np.ndarray, random: Random) -> None:
    """Down to the hairline: parted and swept to the sides, or a short fringe."""
    part, slope, high = random.between(-4, 4), random.between(-0.16, 0.16), random.between(-1, 0.4)
    swept = high - 6.3 + 0.075 * (x - part) * (x - part)
    fringe = high - 6.4 + 0.045 * x * x + slope * x
    crown = ellipse(x, y + 1.2, 9.6 + 0.2 * (1 - man), 11.0)
    coverage = cover(np.maximum(crown, (y - swept - man * (fringe - swept)) * 0.9))
    paint(pixels, coverage, hair)
    gloss = cover(ellipse(x + 3 - 20 * slope, y + 8.8, 5, 1.6), 3)
    for channel, value in zip(pixels, (0.13, 0.12, 0.10)):
        channel += coverage * gloss * value


def _beard(pixels: np.ndarray, x: Field, y: Field, man: Field, hair: np.ndarray, head: Field, random: Random) -> None:
    """About a third of the men wear one."""
    worn = (random.between(0, 1) < 0.35) * man * random.between(0.5, 0.85)
    jaw = y - 5.0 + 0.055 * x * x - 1.2 * cover(np.abs(x) - 3, 2)
    paint(pixels, cover(np.maximum(head, 2.0 - jaw), 1.5) * worn, hair * 0.75)


def _nose(pixels: np.ndarray, x: Field, y: Field) -> None:
    side = cover(bar(x, y, (0.3, -0.5), (1.0, 2.6), 0.35), 1.4)
    under = cover(ellipse(x, y - 3.2, 1.7, 0.55), 1.3)
    shade(pixels, np.maximum(side * 0.6, under), 0.72)


def _eyes(pixels: np.ndarray, x: Field, y: Field, man: Field, hair: np.ndarray, random: Random) -> None:
    """Two of everything: the right half is the left half's mirror image."""
    apart, look, raised = random.between(3.5, 4.0), random.between(-0.4, 0.4), random.between(-0.4, 0.4)
    side, high = np.abs(x) - apart, y + 0.9
    iris_x = np.minimum(length(x - apart - look, high), length(x + apart - look, high))
    paint(pixels, cover(ellipse(side, high, 2.1, 1.25)), WHITE)
    paint(pixels, cover(iris_x - 1.05), colour(((0.16, 0.10, 0.07), (0.12, 0.22, 0.34), (0.14, 0.24, 0.14)), random.choice(3)))
    lash = cover(np.maximum(np.abs(ellipse(side, high - 0.2, 2.4, 1.6)) - 0.4, high + 0.3))
    paint(pixels, lash * (0.95 - 0.45 * man), INK)
    brow = bar(side, high + 3.2 + raised - 0.5 * man, (-1.9 - 0.3 * man, 0.1), (2.0 + 0.4 * man, 0.2), 0.30 + 0.42 * man)
    paint(pixels, cover(brow) * (0.7 + 0.25 * man), hair * 0.55)


def _mouth(pixels: np.ndarray, x: Field, y: Field, smile: Field, man: Field, gender: np.ndarray, skin: np.ndarray,
           random: Random) -> None:
    """Serious: closed, straight lips. Smiling: wider, the corners up, the teeth showing."""
    lips = 0.75 * colour(LIPS, gender) + 0.25 * skin
    high, wide = y - random.between(6.3, 6.9), random.between(2.5, 3.1) + smile * random.between(1.4, 1.8)
    share = 1 - (x / wide) * (x / wide)
    upper, lower = smile * (0.9 * share - 1.0), smile * (random.between(3.3, 3.9) * share - 1.0)
    full = (0.95 - 0.3 * man) * (0.3 + 0.7 * np.maximum(share, 0))
    inside = np.maximum(upper - high, high - lower) * 0.8
    ends = (np.abs(x) - wide) * 0.8
    paint(pixels, cover(np.maximum(inside - full, ends)), lips)
    paint(pixels, cover(np.maximum(np.maximum(inside, ends + 0.5), high - (lower - 0.2))) * smile, WHITE)
    line = cover(np.maximum(np.abs(high) - 0.12, ends)) * (1 - smile)
    shade(pixels, line, 0.55)
    cheek = cover(ellipse(np.abs(x) - 6, y - 3.4, 1.9, 1.4), 2.5) * (0.10 + 0.30 * smile) * (1 - 0.4 * man)
    paint(pixels, cheek, skin * np.asarray((1.0, 0.66, 0.62), np.float32)[:, None, None, None])


def _glasses(pixels: np.ndarray, x: Field, y: Field, worn: Field, random: Random) -> None:
    frame = colour((INK, (0.30, 0.14, 0.06), (0.10, 0.14, 0.32)), random.choice(3))
    rim = ellipse(np.abs(x) - 3.9, y + 0.6, 3.1, random.between(2.5, 2.9))
    paint(pixels, cover(rim) * worn * 0.22, (0.85, 0.93, 1.0))
    bars = np.maximum(np.abs(y + 1.1) - 0.4, np.minimum(np.abs(x) - 0.9, np.maximum(6.9 - np.abs(x), np.abs(x) - 9)))
    paint(pixels, np.maximum(cover(np.abs(rim) - 0.35), cover(bars)) * worn, frame)
