"""Maps of answers around pictures, as a wall of cells."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor

from course_utils.plots.style import PALETTE, finish, new_figure
from course_utils.validate import expect, expect_count


def cross_sections(
    panels: dict[str, Tensor], right: Tensor, classes: Sequence[str], *, columns: int = 10, axes: Sequence[tuple[str, str]] | None = None, title: str | None = None,
) -> Figure:
    """Walls of maps side by side, by name: maps (N, side, side) of class numbers, white where the answer is ``right`` (N,), else in the class's colour.

    ``columns`` cells stand in a row; ``axes`` says for each wall what lies to the right and up within a cell. At most ten classes.
    """
    expect(len(panels) > 0 and all(m.ndim == 3 and len(m) == len(right) for m in panels.values()), "panels", f"name -> maps ({len(right)}, side, side)", {n: tuple(m.shape) for n, m in panels.items()})
    expect(2 <= len(classes) <= len(PALETTE), "classes", f"2 to {len(PALETTE)} names", len(classes))
    expect_count(columns, "columns")
    expect(axes is None or len(axes) == len(panels), "axes", f"one pair for each of {len(panels)} walls", axes)
    colours = ListedColormap([(1, 1, 1), *PALETTE[: len(classes)], (0.25, 0.25, 0.25)])
    rows = -(-len(right) // columns)
    width = min(6.4 * len(panels) + 0.6, 13.0)
    cell = (width - 0.6) / len(panels) / columns
    fig, plotted = new_figure(1, len(panels), width=width, height=rows * cell + 1.6, squeeze=False)
    for i, (axis, (name, maps)) in enumerate(zip(plotted[0], panels.items())):
        wall = _wall(maps.cpu().numpy(), right.cpu().numpy(), columns, len(classes) + 1)
        axis.imshow(wall, cmap=colours, vmin=-0.5, vmax=len(classes) + 1.5, interpolation="nearest")
        axis.set(xticks=[], yticks=[])
        axis.grid(visible=False)
        axis.set_title(name, fontsize=15, fontweight="normal")
        if axes:
            axis.set(xlabel=f"{axes[i][0]} →", ylabel=f"{axes[i][1]} →")
    keys = [Patch(facecolor="white", edgecolor="black", label="right")]
    keys += [Patch(facecolor=PALETTE[k], edgecolor="black", label=f"{one}") for k, one in enumerate(classes)]
    fig.legend(handles=keys, loc="outside lower center", ncols=min(len(keys), 11), handlelength=0.8, columnspacing=0.8, handletextpad=0.4, fontsize=15)
    return finish(fig, title)


def _wall(maps: np.ndarray, right: np.ndarray, columns: int, line: int) -> np.ndarray:
    """The maps as one array of colour numbers: 0 for right, class + 1 otherwise, ``line`` between the cells and where there is none."""
    side = maps.shape[1]
    rows = -(-len(maps) // columns)
    wall = np.full((rows * (side + 1) + 1, columns * (side + 1) + 1), line)
    for i, (one, wanted) in enumerate(zip(maps, right)):
        top, left = (i // columns) * (side + 1) + 1, (i % columns) * (side + 1) + 1
        wall[top : top + side, left : left + side] = np.where(one == wanted, 0, one + 1)
    return wall
