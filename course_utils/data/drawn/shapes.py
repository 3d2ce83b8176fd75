"""One coloured shape a picture, described by a caption. Four pairs of colour and shape are kept out of the training part."""
from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from course_utils.data.drawn.canvas import Field, Random, box, colour, coordinates, cover, length, number, paint, shade
from course_utils.data.drawn.captions import UNSEEN, VALUES, grammar

CLASSES = VALUES["shape"]
# A judge that had seen no red star would take the next one for something else: it learns from pictures of its own.
SIZES = {"train": 6_000, "test": 2_000, "judge": 6_000}

COLOUR = ((0.90, 0.13, 0.13), (0.98, 0.82, 0.10), (0.13, 0.66, 0.24), (0.14, 0.32, 0.88), (0.56, 0.17, 0.72))
BACKGROUND = ((0.95, 0.95, 0.94), (0.98, 0.72, 0.80), (0.58, 0.58, 0.60), (0.08, 0.08, 0.10))
_COLOURS, _SHAPES = len(VALUES["colour"]), len(VALUES["shape"])


def unseen(attributes: Mapping[str, Tensor]) -> Tensor:
    """Which pictures have a pair of colour and shape that no training picture has: (N,) bool."""
    found = torch.zeros_like(attributes["shape"], dtype=torch.bool)
    for hue, shape in UNSEEN:
        found |= (attributes["colour"] == VALUES["colour"].index(hue)) & (attributes["shape"] == VALUES["shape"].index(shape))
    return found


def choose(random: Random, split: str) -> dict[str, np.ndarray]:
    """Attributes, all values as likely; in training without the pairs UNSEEN, else with all."""
    pairs = [(c, s) for c in range(_COLOURS) for s in range(_SHAPES)
             if split != "train" or (VALUES["colour"][c], VALUES["shape"][s]) not in UNSEEN]
    hue, shape = np.array(pairs)[random.choice(len(pairs))].T
    rest = {key: random.choice(len(VALUES[key])) for key in ("size", "background")}
    return {"shape": shape, "colour": hue, **rest}


def labels(attributes: dict[str, np.ndarray]) -> np.ndarray:
    """The class of each picture: its shape."""
    return attributes["shape"]


def captions(attributes: dict[str, np.ndarray], random: Random) -> list[str]:
    """One of the grammar's sentences for each picture."""
    shares = random.between(0, 1).ravel()
    written = []
    for i, share in enumerate(shares):
        sentences = grammar.sentences(**{key: VALUES[key][values[i]] for key, values in attributes.items()})
        written.append(sentences[min(int(share * len(sentences)), len(sentences) - 1)])
    return written


def draw(attributes: dict[str, np.ndarray], random: Random) -> tuple[np.ndarray, Field]:
    """Pictures (3, n, 32, 32) float32 of shapes with these attributes (n,), and how far the shape covers each pixel."""
    size = number(attributes["size"])
    radius = random.between(5.6, 6.4) * (1 - size) + random.between(9.8, 11) * size
    reach = 14 - 1.05 * radius  # keeps the whole shape in the frame
    x, y = coordinates(random.between(-1, 1) * np.minimum(reach, 3), random.between(-1, 1) * np.minimum(reach, 3), 1, random.between(-0.2, 0.2))
    outside = _distance(x, y, radius, attributes["shape"])
    back = colour(BACKGROUND, attributes["background"]) + random.between(-0.03, 0.03)
    hue = colour(COLOUR, attributes["colour"]) * random.between(0.92, 1.06)

    pixels = back + random.between(-0.002, 0.002) * x + random.between(-0.002, 0.002) * y
    shade(pixels, cover(_distance(x - 0.9, y - 1.3, radius, attributes["shape"]), 3), 0.78)
    coverage = cover(outside)
    paint(pixels, coverage, hue)
    shade(pixels, coverage, 1 - 0.10 * (x + y) / radius)  # lit from above, at the left
    return pixels, coverage


def _distance(x: Field, y: Field, radius: Field, shape: np.ndarray) -> Field:
    """Signed distance to the shape of each picture; all of about the same area."""
    out = np.empty(np.broadcast_shapes(np.shape(x), radius.shape), np.float32)
    for kind, distance in enumerate((_circle, _square, _triangle, _star)):
        at = shape == kind
        out[at] = distance(x[at], y[at], radius[at])
    return out


def _circle(x: Field, y: Field, radius: Field) -> Field:
    return length(x, y) - radius


def _square(x: Field, y: Field, radius: Field) -> Field:
    return box(x, y, 0.88 * radius, 0.88 * radius, 0.5)


def _triangle(x: Field, y: Field, radius: Field) -> Field:
    """Equilateral, a point up: the largest distance to the three straight lines."""
    inner = 0.62 * radius
    return np.maximum(y - 0.2 * radius, 0.8660254 * np.abs(x) - 0.5 * (y - 0.2 * radius)) - inner


def _star(x: Field, y: Field, radius: Field) -> Field:
    """Five points, one up: folded on its axes of symmetry onto half a point, whose edge is one straight line (Quilez)."""
    cos, sin = 0.80901699, 0.58778525
    x, y, radius = np.abs(x), -y, 1.22 * radius
    fold = 2 * np.maximum(cos * x - sin * y, 0)
    x, y = x - fold * cos, y + fold * sin
    fold = 2 * np.maximum(-cos * x - sin * y, 0)
    x, y = np.abs(x + fold * cos), y + fold * sin - radius
    edge_x, edge_y = 0.48 * sin, 0.48 * cos - 1
    share = np.clip((x * edge_x + y * edge_y) / (edge_x * edge_x + edge_y * edge_y), 0, radius)
    distance = length(x - edge_x * share, y - edge_y * share)
    return np.where(y * edge_x - x * edge_y < 0, -distance, distance)
