"""The two-player diagram."""
from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from course_utils.plots.style import CRITIC, FAKE, REAL, new_figure


def _box(axis: plt.Axes, centre: tuple[float, float], size: tuple[float, float], text: str, colour) -> None:
    corner = (centre[0] - size[0] / 2, centre[1] - size[1] / 2)
    axis.add_patch(FancyBboxPatch(corner, *size, boxstyle="round,pad=0.08", facecolor=(*colour, 0.25), edgecolor=colour, linewidth=2.5))
    axis.text(*centre, text, ha="center", va="center", fontsize=14)


def _arrow(axis: plt.Axes, start: tuple[float, float], end: tuple[float, float], text: str = "", *, colour="black", dashed: bool = False, lift: float = 0.16, bend: float = 0) -> None:
    style = {"arrowstyle": "-|>", "color": colour, "linewidth": 2.2, "linestyle": "--" if dashed else "-", "connectionstyle": f"arc3,rad={bend}", "mutation_scale": 20}
    axis.annotate("", end, start, arrowprops=style)
    if text:
        axis.text((start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + lift, text, ha="center", va="bottom", fontsize=13, color=colour)


def players() -> Figure:
    """Who gets what, and where the gradients flow: noise, generator, data, discriminator, verdict."""
    fig, axis = new_figure(width=12, height=4.6)
    axis.set(xlim=(-0.9, 11.2), ylim=(-1.35, 3.5))
    axis.axis("off")
    _box(axis, (0, 0.5), (1.2, 0.9), "noise\n$z \\sim p(z)$", (0.5, 0.5, 0.5))
    _box(axis, (3, 0.5), (1.9, 0.9), "generator $G$", FAKE)
    _box(axis, (3, 2.8), (1.9, 0.9), "training data", REAL)
    _box(axis, (7, 1.65), (2.1, 1.0), "discriminator $D$", CRITIC)
    _box(axis, (10.1, 1.65), (1.7, 1.0), "real or fake?\n$D(\\cdot) \\in (0, 1)$", (0.5, 0.5, 0.5))
    _arrow(axis, (0.72, 0.5), (1.95, 0.5))
    _arrow(axis, (4.05, 0.6), (5.85, 1.45), "$G(z)$", colour=FAKE, lift=-0.62)
    _arrow(axis, (4.05, 2.7), (5.85, 1.85), "$x$", colour=REAL)
    _arrow(axis, (8.15, 1.65), (9.15, 1.65))
    _arrow(axis, (9.9, 2.28), (7.3, 2.3), "D ascends: tell them apart", colour=CRITIC, dashed=True, lift=0.5, bend=0.35)
    _arrow(axis, (10.0, 1.02), (3.1, -0.08), "G descends, through a fixed D: fool it", colour=FAKE, dashed=True, lift=-1.42, bend=-0.3)
    return fig
