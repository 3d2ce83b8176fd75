"""What the drawing is done with: random numbers, signed distances, soft brushes, 256 levels.

A figure is a signed distance: how many pixels a point lies outside it, negative inside. A pixel whose distance passes
from -1/2 to 1/2 is covered in part, which gives the soft edges of a photograph. All pictures are drawn at once, on
arrays (n, 32, 32).

The pictures are the same on every machine, bit for bit: every number is a float32 that came out of additions,
multiplications, divisions, square roots and comparisons, which IEEE 754 rounds in one way only. Sines, exponentials,
powers and sums over many numbers are not among them and must not be used here. Constants are Python's own numbers, which
take the type of the array they meet in every version of numpy; numpy's scalars do not.
"""
from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

SIZE = 32  # pixels, height and width
CHUNK = 50  # pictures drawn at a time: their arrays then fit the processor's cache

Field = np.ndarray  # (n, 32, 32) float32, or (n, 1, 1) for one number a picture; also a plain number


class Random:
    """Random numbers for ``n`` pictures. Only uniform doubles are asked of numpy: that stream is the same for good.

    ``seed`` is any sequence of names and numbers.
    """

    def __init__(self, n: int, *seed: str | int) -> None:
        numbers = [zlib.crc32(part.encode()) if isinstance(part, str) else part for part in seed]
        self.n = n
        self._stream = np.random.Generator(np.random.PCG64(np.random.SeedSequence(numbers)))

    def between(self, low: Field | float, high: Field | float) -> Field:
        """One number a picture, (n, 1, 1); always one draw, whatever ``low`` and ``high`` are."""
        share = self._stream.random((self.n, 1, 1)).astype(np.float32)
        return low + (high - low) * share

    def choice(self, count: int) -> np.ndarray:
        """One of 0 … count-1 a picture, (n,) int64, all as likely."""
        return np.minimum(np.floor(self._stream.random(self.n) * count), count - 1).astype(np.int64)

    def grain(self, count: int = SIZE) -> Field:
        """Numbers in [-1, 1] that differ from pixel to pixel, (n, count, count)."""
        return (self._stream.random((self.n, count, count)) * 2 - 1).astype(np.float32)


def number(values: np.ndarray) -> Field:
    """(n,) -> (n, 1, 1) float32, to be used beside fields."""
    return values.astype(np.float32)[:, None, None]


def colour(table: Sequence[Sequence[float]], choice: np.ndarray) -> Field:
    """Rows of a table of (red, green, blue), as (3, n, 1, 1) float32."""
    return np.asarray(table, dtype=np.float32)[choice].T[:, :, None, None]


def coordinates(shift_x: Field | float = 0, shift_y: Field | float = 0, scale: Field | float = 1,
                tilt: Field | float = 0) -> tuple[Field, Field]:
    """Where each pixel lies in a figure that is moved, enlarged and tilted: x to the right, y down, 0 in the middle.

    ``tilt`` is the tangent of the angle, clockwise.
    """
    line = np.arange(SIZE, dtype=np.float32) - (SIZE - 1) / 2
    x, y = line[None, None, :] - shift_x, line[None, :, None] - shift_y
    slope = tilt * np.ones((1, 1, 1), np.float32)
    along = 1 / np.sqrt(1 + slope * slope) / scale
    across = along * slope
    return along * x + across * y, along * y - across * x


def length(x: Field, y: Field) -> Field:
    """The distance from (0, 0)."""
    return np.sqrt(x * x + y * y)


def ellipse(x: Field, y: Field, radius_x: Field | float, radius_y: Field | float) -> Field:
    """Signed distance to an ellipse around 0, near enough at its edge (Quilez's estimate, k (k-1) / |gradient|)."""
    a, b = x / radius_x, y / radius_y
    k = length(a, b)
    return k * (k - 1) / (length(a / radius_x, b / radius_y) + 1e-6)


def box(x: Field, y: Field, half_x: Field | float, half_y: Field | float, corner: Field | float = 0) -> Field:
    """Signed distance to a rectangle around 0, its corners rounded with radius ``corner``."""
    a, b = np.abs(x) - (half_x - corner), np.abs(y) - (half_y - corner)
    return length(np.maximum(a, 0), np.maximum(b, 0)) + np.minimum(np.maximum(a, b), 0) - corner


def bar(x: Field, y: Field, start: tuple, end: tuple, radius: Field | float, radius_end: Field | float | None = None) -> Field:
    """Signed distance to a bar with round ends from the point ``start`` to ``end``, thinner or thicker there."""
    (x0, y0), (x1, y1) = start, end
    along_x, along_y = x1 - x0, y1 - y0
    share = np.clip(((x - x0) * along_x + (y - y0) * along_y) / (along_x * along_x + along_y * along_y), 0, 1)
    grown = 0 if radius_end is None else share * (radius_end - radius)
    return length(x - x0 - share * along_x, y - y0 - share * along_y) - radius - grown


def stripes(phase: Field, period: float) -> Field:
    """Signed distance to the edge of stripes, where ``phase`` counts pixels across them: half black (< 0), half white."""
    turns = phase / period
    return (np.abs(turns - np.floor(turns) - 0.5) - 0.25) * period


def cover(distance: Field, softness: float = 1.0) -> Field:
    """How much of each pixel lies inside, in [0, 1]; the edge is ``softness`` pixels wide."""
    return np.clip(0.5 - distance / softness, 0, 1)


def paint(pixels: np.ndarray, coverage: Field, what: np.ndarray | Sequence[float]) -> None:
    """Lay a colour, (3, n, 1, 1), (3, n, 32, 32) or three numbers, over ``pixels`` (3, n, 32, 32), in place."""
    for channel, value in zip(pixels, what):
        part = value - channel
        part *= coverage
        channel += part


def shade(pixels: np.ndarray, coverage: Field, factor: Field | float) -> None:
    """Multiply what is there by ``factor``, as far as ``coverage`` goes, in place: light and shadow."""
    pixels *= 1 + coverage * (factor - 1)


def levels(values: np.ndarray) -> np.ndarray:
    """float32 -> 256 levels, uint8; values outside [0, 1] are cut off."""
    return np.floor(np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8)
