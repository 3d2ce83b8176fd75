"""Horses and zebras on meadows: two kinds of picture that nobody has paired, with the outline of the animal as mask."""
from __future__ import annotations

import numpy as np

from course_utils.data.drawn.canvas import Field, Random, bar, colour, coordinates, cover, ellipse, number, paint, shade, stripes
from course_utils.data.drawn.landscape import grass, sky

VALUES = {
    "animal": ("horse", "zebra"),
    "facing": ("left", "right"),
    "head": ("high", "low"),
    "sky": ("clear", "cloudy", "evening"),
}
CLASSES = VALUES["animal"]
SIZES = {"train": 4_000, "test": 1_000}

COATS = ((0.62, 0.31, 0.12), (0.45, 0.24, 0.12), (0.80, 0.56, 0.28), (0.33, 0.19, 0.12))
MANES = ((0.50, 0.22, 0.08), (0.10, 0.07, 0.06), (0.95, 0.85, 0.62), (0.10, 0.07, 0.06))
WHITE, BLACK = (0.95, 0.94, 0.91), (0.09, 0.08, 0.09)


def labels(attributes: dict[str, np.ndarray]) -> np.ndarray:
    """The class of each picture: its animal."""
    return attributes["animal"]


def draw(attributes: dict[str, np.ndarray], random: Random) -> tuple[np.ndarray, Field]:
    """Pictures (3, n, 32, 32) float32 with these attributes (n,), and how far the animal covers each pixel."""
    x, y = coordinates()
    horizon = random.between(-4.5, -1.5)
    pixels = sky(attributes["sky"], x, y, random)
    grass(pixels, y - horizon - random.between(-0.04, 0.04) * x, random)

    size, across = random.between(1.04, 1.14), random.between(-1, 1)
    x, y = coordinates(across, random.between(0.5, 2), size, random.between(-0.04, 0.04))
    x = x * (2 * number(attributes["facing"]) - 1)  # drawn with its head to the right
    zebra, down = number(attributes["animal"]), number(attributes["head"])
    near, far, parts = _outline(x, y, down, zebra, random)

    which = random.choice(len(COATS))
    light = random.between(0.93, 1.06)
    coat = colour(COATS, which) * light * (1 - zebra) + zebra * light * _solid(WHITE)
    mane = colour(MANES, which) * (1 - zebra) + zebra * _solid(BLACK)
    shade(pixels, cover(ellipse(x, y - 12.2, 9, 1.3), 3), 0.7)  # its shadow on the grass
    paint(pixels, cover(far), coat * 0.62)
    coverage = cover(near)
    paint(pixels, coverage, coat)
    black = cover(stripes(_across_the_stripes(x, y, parts, random), 3.4)) * zebra
    paint(pixels, np.maximum(cover(far), coverage) * black, BLACK)
    shade(pixels, coverage, 1.05 - 0.022 * np.clip(y + 1, -3, 8))  # light from above
    hair = np.minimum(parts["mane"], parts["tail"])
    paint(pixels, cover(hair), mane)
    muzzle = cover(parts["muzzle"]) * coverage * (0.45 + 0.5 * zebra)
    paint(pixels, muzzle, BLACK)
    paint(pixels, cover(parts["eye"]) * 0.9, BLACK)
    return pixels, cover(np.minimum(np.minimum(near, far), hair))


def _outline(x: Field, y: Field, down: Field, zebra: Field, random: Random) -> tuple[Field, Field, dict[str, Field]]:
    """Signed distance to what is near, to the two far legs, and to each part."""
    stride = random.between(-0.9, 0.9)
    crest_x, crest_y = 8.0 + 1.7 * down, -7.4 + 4.6 * down  # where the neck ends
    nose_x, nose_y = 11.9 + 0.5 * down, -4.6 + 7.2 * down
    parts = {
        "body": np.minimum(ellipse(x + 1, y - 1.2, 7.6, random.between(3.9, 4.4)), ellipse(x + 5.2, y - 0.9, 3.6, 4.1)),
        "neck": bar(x, y, (4.2, 0.6 - 0.6 * down), (crest_x, crest_y), 3.2 - 0.4 * down, 1.7),
        "head": bar(x, y, (crest_x + 0.2, crest_y + 0.2), (nose_x, nose_y), 1.75, 1.15),
        "legs": np.minimum(_leg(x, y, -6.6, stride), _leg(x, y, 4.3, -stride)),
        "mane": bar(x, y, (3.4 + 0.6 * down, -3.0), (crest_x - 1.0 + 0.5 * down, crest_y - 1.4 - 0.2 * down), 1.0 - 0.15 * down, 0.8),
        "tail": bar(x, y, (-8.6, -0.8), (-9.6 + 0.4 * stride, 6.2), 0.75, 1.1),
        "muzzle": ellipse(x - nose_x, y - nose_y, 1.3, 1.3),
        "eye": ellipse(x - crest_x - 1.1, y - crest_y - 0.5 - 0.3 * down, 0.62, 0.62),
    }
    ear = bar(x, y, (crest_x, crest_y - 0.8), (crest_x - 0.1 + 0.3 * down, crest_y - 2.9), 0.75, 0.4)
    near = np.minimum(np.minimum(parts["body"], parts["neck"]), np.minimum(np.minimum(parts["head"], parts["legs"]), ear))
    far = np.minimum(_leg(x, y, -4.3, -stride), _leg(x, y, 2.4, stride))
    return near, far, parts


def _solid(rgb: tuple[float, float, float]) -> np.ndarray:
    return np.asarray(rgb, np.float32)[:, None, None, None]


def _leg(x: Field, y: Field, hip: float, stride: Field) -> Field:
    return bar(x, y, (hip, 3.0), (hip + stride, 11.6), 1.65, 0.95)


def _across_the_stripes(x: Field, y: Field, parts: dict[str, Field], random: Random) -> Field:
    """Counts pixels across the stripes: upright on the body, slanting on neck and head, level on the legs."""
    bent, start = random.between(-0.25, 0.25), random.between(0, 3.4)
    body = x + bent * y
    neck = 0.62 * x - 0.78 * y
    legs = y * 1.15
    on_neck = np.minimum(parts["neck"], parts["head"]) < np.minimum(parts["body"], parts["legs"])
    return start + np.where((y > 5.4) & (parts["legs"] < 3) & ~on_neck, legs, np.where(on_neck, neck, body))
