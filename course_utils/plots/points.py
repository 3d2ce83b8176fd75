"""Samples in the plane."""
from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from course_utils.plots.style import FAKE, REAL, finish, legend_outside, new_figure
from course_utils.validate import expect, expect_positive


def draw_points(axis: plt.Axes, fake: Tensor, real: Tensor, *, reach: float, title: str | None = None) -> None:
    """Generated points (N, 2) over real ones (M, 2), both axes from -reach to reach."""
    for name, some in (("fake", fake), ("real", real)):
        expect(some.ndim == 2 and some.shape[1] == 2, name, "points (N, 2)", f"the shape {tuple(some.shape)}")
    expect_positive(reach, "reach")
    real, fake = real.detach().cpu(), fake.detach().cpu()
    axis.scatter(*real.T, s=22, color=REAL, alpha=0.25, linewidths=0, label="data")
    axis.scatter(*fake.T, s=22, color=FAKE, alpha=0.7, marker="x", linewidths=1.2, label="generator")
    axis.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[], yticks=[])
    if title:
        axis.set_title(title, fontsize=15, fontweight="normal")


def points(fake: Tensor, real: Tensor, *, reach: float = 2.2, title: str | None = None) -> Figure:
    """One picture of generated points over the data."""
    fig, axis = new_figure(width=5.5, height=6)
    draw_points(axis, fake, real, reach=reach, title=title)
    legend_outside(fig, axis)
    return fig


def point_strip(frames: Sequence[Tensor], names: Sequence[str], real: Tensor, *, reach: float = 2.2, title: str | None = None) -> Figure:
    """Generated points (N, 2) over the data, one panel per frame, named above."""
    expect(0 < len(frames) == len(names), "names", f"one for each of {len(frames)} frames, at least one", names)
    width = min(2.7, 14 / len(frames))
    fig, axes = new_figure(1, len(frames), width=max(width * len(frames), 5.5), height=width + (1.2 if title else 0.8), squeeze=False)
    for axis, frame, name in zip(axes[0], frames, names):
        draw_points(axis, frame, real, reach=reach, title=name)
    legend_outside(fig, axes[0, 0])
    return finish(fig, title)
