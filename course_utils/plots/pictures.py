"""Pictures in rows and grids."""
from __future__ import annotations

import textwrap
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from torch import Tensor
from torchvision.utils import make_grid

from course_utils.plots.style import finish, new_figure
from course_utils.validate import expect, expect_count, expect_images


def _as_array(picture: Tensor) -> np.ndarray:
    """(C, H, W) in [0, 1] -> (H, W) or (H, W, 3), as matplotlib wants it."""
    array = picture.detach().cpu().float().permute(1, 2, 0).numpy()
    return array[..., 0] if array.shape[-1] == 1 else array


def show_picture(axis: plt.Axes, picture: Tensor, title: str | None = None) -> None:
    """Draw one picture (C, H, W) in [0, 1] on ``axis``, black 0, white 1, without ticks."""
    axis.imshow(_as_array(picture), vmin=0, vmax=1, interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])
    if title:
        axis.set_title(title, fontsize=15, fontweight="normal")


def tile(pictures: Tensor, columns: int) -> Tensor:
    """Pictures (N, C, H, W) in [0, 1] as one (3, h, w) with ``columns`` a row and light lines between."""
    expect_images(pictures, "pictures")
    expect(pictures.shape[1] in (1, 3), "pictures", "1 channel or 3", f"the shape {tuple(pictures.shape)}")
    expect_count(columns, "columns")
    return make_grid(pictures.detach().cpu().float(), nrow=columns, padding=1, pad_value=0.6)


def picture_grid(pictures: Tensor, *, columns: int = 12, title: str | None = None) -> Figure:
    """One grid of pictures (N, C, H, W) in [0, 1]."""
    grid = tile(pictures, columns)
    fig, axis = new_figure(width=10, height=10 * -(-len(pictures) // columns) / columns * pictures.shape[2] / pictures.shape[3] + 0.6)
    show_picture(axis, grid)
    return finish(fig, title)


def picture_rows(rows: dict[str, Tensor], *, title: str | None = None) -> Figure:
    """Rows of pictures, each (N, C, H, W) in [0, 1], with the name of the row at its left."""
    expect(len(rows) > 0, "rows", "at least one", rows)
    tiled = [tile(pictures, max(len(pictures), 1)) for pictures in rows.values()]
    fig, axes = new_figure(len(rows), 1, width=10, height=10 * len(rows) / max(map(len, rows.values())) + 0.8, squeeze=False)
    for axis, name, row in zip(axes[:, 0], rows, tiled):
        show_picture(axis, row)
        axis.set_ylabel(name, rotation=0, ha="right", va="center")
    return finish(fig, title)


def picture_strip(frames: Sequence[Tensor], names: Sequence[str], *, columns: int = 4, title: str | None = None) -> Figure:
    """Several grids side by side, one per moment: each (N, C, H, W) in [0, 1], named above."""
    expect(0 < len(frames) == len(names), "names", f"one for each of {len(frames)} frames, at least one", names)
    fig, axes = new_figure(1, len(frames), width=13, height=3.6, squeeze=False)
    for axis, frame, name in zip(axes[0], frames, names):
        show_picture(axis, tile(frame, columns), name)
    return finish(fig, title)


def picture_captions(captions: Sequence[str], rows: Sequence[Tensor], *, title: str | None = None) -> Figure:
    """Rows of pictures, each (N, C, H, W) in [0, 1], with a sentence at the left of each row, in lines of 26 letters."""
    expect(0 < len(rows) == len(captions), "captions", f"one for each of {len(rows)} rows, at least one", len(captions))
    fig, axes = new_figure(len(rows), 1, width=11, height=8 * len(rows) / max(map(len, rows)) + 0.8, squeeze=False)
    for axis, caption, row in zip(axes[:, 0], captions, rows):
        show_picture(axis, tile(row, max(len(row), 1)))
        axis.set_ylabel(textwrap.fill(caption, 26), rotation=0, ha="right", va="center", fontsize=14)
    return finish(fig, title)
