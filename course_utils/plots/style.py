"""One look for the course: readable from the back of a lecture hall, safe for colour-blind readers."""
from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from course_utils.validate import expect

PALETTE = sns.color_palette("colorblind")
REAL, FAKE, CRITIC, OTHER = PALETTE[0], PALETTE[1], PALETTE[2], PALETTE[4]  # blue, orange, green, pink
MARKERS = "osD^vPX*"
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))


def use_style() -> None:
    """Set fonts, grid and colours for every figure that follows. ``course_utils.plots`` does so when imported."""
    sns.set_theme(context="notebook", style="whitegrid", palette="colorblind", font_scale=1.3)
    plt.rcParams.update({
        "figure.dpi": 80, "savefig.dpi": 80, "lines.linewidth": 2.5, "axes.titleweight": "bold",
        "axes.titlesize": 15, "legend.frameon": True, "legend.framealpha": 0.9, "image.cmap": "gray",
    })


def new_figure(rows: int = 1, columns: int = 1, *, width: float = 10, height: float = 4.5, **options):
    """A figure and its axes as ``plt.subplots`` gives them, shown once: when the cell ends with it."""
    fig, axes = plt.subplots(rows, columns, figsize=(width, height), layout="constrained", **options)
    plt.close(fig)  # otherwise the notebook shows it a second time
    return fig, axes


def finish(fig: Figure, title: str | None) -> Figure:
    """The figure with its title over all panels, if there is one."""
    if title:
        fig.suptitle(title, fontweight="bold")
    return fig


def legend_outside(fig: Figure, axis: plt.Axes) -> None:
    """One legend for the whole figure, below its panels, from the curves or points on ``axis``."""
    handles, labels = axis.get_legend_handles_labels()
    legend = fig.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 4), markerscale=1.6)
    for handle in legend.legend_handles:
        handle.set_alpha(1)  # points are drawn pale, their key need not be


def log_y_axis(axis: plt.Axes) -> None:
    """Make the y axis of ``axis`` logarithmic, once its data are drawn.

    Data that span less than three decades get plain numbers at 1-2-5 steps (0.1, 0.2, 0.5, 1), at least two of
    them; larger spans get powers of ten. Raises ValueError when no value is above 0.
    """
    low, high = axis.dataLim.minposy, axis.dataLim.y1
    expect(math.isfinite(low), "log_y", "values above 0", "none")
    axis.set_yscale("log")
    if high >= 1000 * low:
        return
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(lambda value, _place: f"{value:g}")
    axis.yaxis.set_minor_locator(NullLocator())
    decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    steps = np.array([float(f"{digit}e{power}") for power in decades for digit in (1, 2, 5)])
    bottom, top = axis.get_ylim()
    if low == high or ((steps >= bottom) & (steps <= top)).sum() < 2:
        axis.set_ylim(steps[steps < low].max(), steps[steps > high].min())
