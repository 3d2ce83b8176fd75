"""Curves, their spread over runs, and single figures per run."""
from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch
from matplotlib.figure import Figure

from course_utils.plots.style import LINES, MARKERS, PALETTE, finish, new_figure

Values = torch.Tensor | np.ndarray | Sequence[float]


def draw_curves(axis: plt.Axes, curves: dict[str, tuple[Values, Values]], *, x: str, y: str, title: str | None = None) -> None:
    """Lines on ``axis``: name -> (x values (T,), y values (T,) or (runs, T)).

    With runs, the line is their median and the band goes from the lowest to the highest.
    """
    for (name, (xs, ys)), colour, dashes in zip(curves.items(), PALETTE, LINES):
        xs, ys = np.asarray(xs), np.atleast_2d(np.asarray(ys))
        axis.plot(xs, np.median(ys, axis=0), color=colour, linestyle=dashes, label=name)
        if len(ys) > 1:
            axis.fill_between(xs, ys.min(axis=0), ys.max(axis=0), color=colour, alpha=0.2, linewidth=0)
    axis.set(xlabel=x, ylabel=y, title=title)
    if len(curves) > 1:
        axis.legend()


def curves(panels: dict[str, dict[str, tuple[Values, Values]]], *, x: str | Sequence[str], y: str | Sequence[str], log_y: bool = False, title: str | None = None) -> Figure:
    """Panels of lines side by side: panel title -> name -> (x values, y values); see ``draw_curves``.

    ``x`` and ``y`` label the axes, one text for all panels or one each.
    """
    fig, axes = new_figure(1, len(panels), width=6.2 * len(panels) if len(panels) > 1 else 9, squeeze=False)
    labels = [[text] * len(panels) if isinstance(text, str) else text for text in (x, y)]
    for axis, (name, lines), x_label, y_label in zip(axes[0], panels.items(), *labels):
        draw_curves(axis, lines, x=x_label, y=y_label, title=name)
        if log_y:
            axis.set_yscale("log")
    return finish(fig, title)


def spread(figures: dict[str, Values], *, y: str, limit: tuple[float, str] | None = None, log_y: bool = False, title: str | None = None) -> Figure:
    """One dot per run and a bar at the median, for each named setting: name -> (runs,).

    ``limit`` draws a dashed line at a value, with its meaning.
    """
    names = [name for name, values in figures.items() for _ in np.asarray(values)]
    values = np.concatenate([np.asarray(v, dtype=float) for v in figures.values()])
    fig, axis = new_figure(width=max(7, 2.4 * len(figures)), height=4.5)
    sns.stripplot(x=names, y=values, hue=names, legend=False, palette="colorblind", size=10, jitter=0.15, ax=axis)
    for place, v in enumerate(figures.values()):
        axis.hlines(np.median(np.asarray(v)), place - 0.3, place + 0.3, color="black", linewidth=3)
    if limit:
        axis.axhline(limit[0], color="black", linestyle="--", linewidth=1.5, label=limit[1])
        axis.legend(loc="best")
    if log_y:
        axis.set_yscale("log")
    axis.set(ylabel=y, xlabel="")
    return finish(fig, title)


def bars(groups: dict[str, Values], ticks: Sequence[str], *, x: str, y: str, title: str | None = None) -> Figure:
    """Bars side by side, one colour per group: name -> (T,), over ``ticks``."""
    fig, axis = new_figure()
    width = 0.8 / len(groups)
    for i, (name, values) in enumerate(groups.items()):
        places = np.arange(len(ticks)) + (i - (len(groups) - 1) / 2) * width
        axis.bar(places, np.asarray(values), width, label=name, hatch=("", "//", "..")[i % 3], edgecolor="white")
    axis.set_xticks(range(len(ticks)), ticks)
    axis.set(xlabel=x, ylabel=y)
    if len(groups) > 1:
        axis.legend()
    return finish(fig, title)


__all__ = ["MARKERS", "bars", "curves", "draw_curves", "spread"]
