"""Curves, their spread over runs, and single figures per run."""
from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure

from course_utils.plots.style import LINES, PALETTE, finish, legend_outside, log_y_axis, new_figure
from course_utils.validate import expect

Values = torch.Tensor | np.ndarray | Sequence[float]


def _array(values: Values) -> np.ndarray:
    """``values`` as numpy has them, wherever they are."""
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values, dtype=float)


def draw_curves(axis: plt.Axes, curves: dict[str, tuple[Values, Values]], *, x: str, y: str, title: str | None = None) -> None:
    """Lines on ``axis``: name -> (x values (T,), y values (T,) or (runs, T)).

    With runs, the line is their median and the band goes from the lowest to the highest.
    """
    for (name, (xs, ys)), colour, dashes in zip(curves.items(), cycle(PALETTE), cycle(LINES)):
        xs, ys = _array(xs), np.atleast_2d(_array(ys))
        expect(ys.ndim == 2 and xs.shape == ys.shape[1:], f"curve {name!r}", "x values (T,), y values (T,) or (runs, T)", f"the shapes {xs.shape}, {ys.shape}")
        axis.plot(xs, np.median(ys, axis=0), color=colour, linestyle=dashes, label=name)
        if len(ys) > 1:
            axis.fill_between(xs, ys.min(axis=0), ys.max(axis=0), color=colour, alpha=0.2, linewidth=0)
    axis.set(xlabel=x, ylabel=y, title=title)


def curves(panels: dict[str, dict[str, tuple[Values, Values]]], *, x: str | Sequence[str], y: str | Sequence[str], log_x: bool = False, log_y: bool = False, same_y: bool = False, title: str | None = None) -> Figure:
    """Panels of lines side by side: panel title -> name -> (x values, y values); see ``draw_curves``.

    ``x`` and ``y`` label the axes, one text for all panels or one each. Panels with the same names share a legend;
    ``same_y`` gives all panels one scale.
    """
    expect(len(panels) > 0 and all(panels.values()), "panels", "at least one, with at least one curve each", panels)
    labels = [[text] * len(panels) if isinstance(text, str) else text for text in (x, y)]
    for name, texts in zip("xy", labels):
        expect(len(texts) == len(panels), name, f"one label or {len(panels)}, one per panel", texts)
    shared = len(panels) > 1 and len({tuple(lines) for lines in panels.values()}) == 1
    fig, axes = new_figure(1, len(panels), width=min(6.2 * len(panels), 14) if len(panels) > 1 else 9, height=5 if shared else 4.5, squeeze=False, sharey=same_y)
    for axis, (name, lines), x_label, y_label in zip(axes[0], panels.items(), *labels):
        draw_curves(axis, lines, x=x_label, y=y_label, title=name)
        if len(lines) > 1 and not shared:
            axis.legend()
        if log_x:
            axis.set_xscale("log")
        if log_y:
            log_y_axis(axis)
    if shared and len(lines) > 1:
        legend_outside(fig, axis)
    return finish(fig, title)


def spread(figures: dict[str, Values], *, y: str, limit: tuple[float, str] | None = None, log_y: bool = False, title: str | None = None) -> Figure:
    """One dot per run, from left to right, and a bar at the median, for each named setting: name -> (runs,).

    ``limit`` draws a dashed line at a value, with its meaning.
    """
    values = [_array(v) for v in figures.values()]
    expect(len(values) > 0 and all(v.ndim == 1 and v.size for v in values), "figures", "name -> (runs,)", {name: v.shape for name, v in zip(figures, values)})
    fig, axis = new_figure(width=max(7, 2.4 * len(figures)), height=4.5)
    for place, (v, colour) in enumerate(zip(values, cycle(PALETTE))):
        axis.scatter(place + np.linspace(-0.15, 0.15, len(v) + 2)[1:-1], v, s=90, color=colour, zorder=3)
        axis.hlines(np.median(v), place - 0.3, place + 0.3, color="black", linewidth=3, label="median" if place == 0 else None)
    axis.set_xticks(range(len(figures)), list(figures))
    axis.set_xlim(-0.5, len(figures) - 0.5)
    axis.grid(visible=False, axis="x")
    if limit:
        axis.axhline(limit[0], color="black", linestyle="--", linewidth=1.5, label=limit[1])
    axis.legend(loc="best")
    if log_y:
        log_y_axis(axis)
    axis.set(ylabel=y)
    return finish(fig, title)


def bars(groups: dict[str, Values], ticks: Sequence[str], *, x: str, y: str, title: str | None = None) -> Figure:
    """Bars side by side, one colour per group: name -> (T,), over ``ticks``."""
    values = [_array(v) for v in groups.values()]
    expect(len(values) > 0 and all(v.shape == (len(ticks),) for v in values), "groups", f"name -> ({len(ticks)},), a value per tick", {name: v.shape for name, v in zip(groups, values)})
    fig, axis = new_figure(height=5)
    width = 0.8 / len(groups)
    for i, (name, v) in enumerate(zip(groups, values)):
        places = np.arange(len(ticks)) + (i - (len(groups) - 1) / 2) * width
        axis.bar(places, v, width, label=name, color=PALETTE[i % len(PALETTE)], hatch=("", "//", "..")[i % 3], edgecolor="white")
    axis.set_xticks(range(len(ticks)), ticks)
    axis.grid(visible=False, axis="x")
    axis.set(xlabel=x, ylabel=y)
    if len(groups) > 1:
        legend_outside(fig, axis)
    return finish(fig, title)
