"""The two-player diagram."""
from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from course_utils.plots.style import CRITIC, FAKE, REAL, new_figure

GREY = (0.5, 0.5, 0.5)


def _box(axis: plt.Axes, centre: tuple[float, float], size: tuple[float, float], text: str, colour) -> None:
    corner = (centre[0] - size[0] / 2, centre[1] - size[1] / 2)
    axis.add_patch(FancyBboxPatch(corner, *size, boxstyle="round,pad=0.08", facecolor=(*colour, 0.25), edgecolor=colour, linewidth=2.5))
    axis.text(*centre, text, ha="center", va="center", fontsize=17)


def _arrow(axis: plt.Axes, start: tuple[float, float], end: tuple[float, float], *, colour="black", dashed: bool = False, bend: float = 0) -> None:
    style = {"arrowstyle": "-|>", "color": colour, "linewidth": 2.5, "linestyle": "--" if dashed else "-", "connectionstyle": f"arc3,rad={bend}", "mutation_scale": 22}
    axis.annotate("", end, start, arrowprops=style)


def players() -> Figure:
    """Who gets what, and where the gradients flow: noise, generator, data, discriminator, verdict."""
    fig, axis = new_figure(width=12, height=4.7)
    axis.set(xlim=(-1, 11.3), ylim=(-1.35, 3.5))
    axis.axis("off")
    _box(axis, (0, 0.5), (1.5, 1), "noise\n$z \\sim p(z)$", GREY)
    _box(axis, (3, 0.5), (1.9, 0.9), "generator $G$", FAKE)
    _box(axis, (3, 2.8), (1.9, 0.9), "training data", REAL)
    _box(axis, (7, 1.65), (2.2, 1), "discriminator $D$", CRITIC)
    _box(axis, (10.2, 1.65), (1.8, 1), "real or fake?\n$D(\\cdot) \\in (0, 1)$", GREY)
    _arrow(axis, (0.85, 0.5), (1.95, 0.5))
    _arrow(axis, (4.05, 0.6), (5.82, 1.45), colour=FAKE)
    axis.text(5.1, 0.85, "$G(z)$", ha="left", va="top", fontsize=17)
    _arrow(axis, (4.05, 2.7), (5.82, 1.85), colour=REAL)
    axis.text(5.1, 2.45, "$x$", ha="left", va="bottom", fontsize=17)
    _arrow(axis, (8.2, 1.65), (9.2, 1.65))
    _arrow(axis, (10.0, 2.28), (7.3, 2.28), colour=CRITIC, dashed=True, bend=0.35)
    axis.text(8.65, 2.95, "D learns: tell them apart", ha="center", va="bottom", fontsize=16)
    _arrow(axis, (10.1, 1.02), (3.1, -0.08), colour=FAKE, dashed=True, bend=-0.3)
    axis.text(6.3, -0.86, "G learns, through D: fool it", ha="center", va="top", fontsize=16)
    return fig
