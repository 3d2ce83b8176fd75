"""Samples in the plane."""
from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from course_utils.plots.style import FAKE, REAL, finish, new_figure


def draw_points(axis: plt.Axes, fake: Tensor, real: Tensor, *, reach: float, title: str | None = None) -> None:
    """Generated points (N, 2) over real ones (M, 2), both axes from -reach to reach."""
    real, fake = real.detach().cpu(), fake.detach().cpu()
    axis.scatter(*real.T, s=22, color=REAL, alpha=0.25, linewidths=0, label="data")
    axis.scatter(*fake.T, s=22, color=FAKE, alpha=0.7, marker="x", linewidths=1.2, label="generator")
    axis.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[], yticks=[])
    if title:
        axis.set_title(title, fontsize=13, fontweight="normal")


def points(fake: Tensor, real: Tensor, *, reach: float = 2.2, title: str | None = None) -> Figure:
    """One picture of generated points over the data."""
    fig, axis = new_figure(width=5.5, height=5.5)
    draw_points(axis, fake, real, reach=reach, title=title)
    axis.legend(loc="center", markerscale=1.6)
    return fig


def point_strip(frames: Sequence[Tensor], names: Sequence[str], real: Tensor, *, reach: float = 2.2, title: str | None = None) -> Figure:
    """Generated points (N, 2) over the data, one panel per frame, named above."""
    fig, axes = new_figure(1, len(frames), width=2.7 * len(frames), height=3.6, squeeze=False)
    for axis, frame, name in zip(axes[0], frames, names):
        draw_points(axis, frame, real, reach=reach, title=name)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=2, markerscale=1.6)
    return finish(fig, title)
