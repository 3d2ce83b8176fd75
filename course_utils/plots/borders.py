"""A straight border in one and two dimensions, and the step across it."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from course_utils.plots.style import CRITIC, FAKE, REAL, finish, legend_outside, new_figure
from course_utils.validate import expect


@dataclass(frozen=True)
class Border:
    """A linear model w x + b over ``points`` (N, 1) or (N, 2) in [0, 1], with ``labels`` (N,) bool: True where w x + b > 0 is right.

    ``x`` (1,) or (2,) is the point that is moved, ``moved`` where it ends, ``eps`` the largest change of each of its values.
    """

    points: Tensor
    labels: Tensor
    w: Tensor
    b: float
    x: Tensor
    moved: Tensor
    eps: float


def border_steps(panels: dict[str, Border], names: tuple[str, str], *, axes: Sequence[str], title: str | None = None) -> Figure:
    """A panel for each Border: ``names`` are what False and True are called, ``axes`` what the one or two values are."""
    expect(len(panels) > 0 and all(p.points.ndim == 2 and p.points.shape[1] in (1, 2) for p in panels.values()), "panels", "name -> Border with points (N, 1) or (N, 2)", list(panels))
    fig, plotted = new_figure(1, len(panels), width=6.3 * len(panels), height=5.6, squeeze=False)
    for axis, (name, border) in zip(plotted[0], panels.items()):
        (_draw_one if border.points.shape[1] == 1 else _draw_two)(axis, border, names)
        axis.set_xlabel(axes[0])
        axis.set_ylabel("probability of " + names[1] if border.points.shape[1] == 1 else axes[1])
        axis.set_title(name, fontsize=15, fontweight="normal")
    legend_outside(fig, plotted[0, -1])
    return finish(fig, title)


def _draw_one(axis: plt.Axes, border: Border, names: tuple[str, str]) -> None:
    """Points on a line, the model's probability above it, the border, and the step as an arrow."""
    w, b = border.w.item(), float(border.b)
    t = np.linspace(*_around(border), 300)
    chance = lambda v: 1 / (1 + np.exp(-(w * v + b)))  # noqa: E731
    axis.plot(t, chance(t), color="black", linewidth=1.8)
    for wanted, colour, marker in ((False, REAL, "o"), (True, FAKE, "^")):
        own = border.points[border.labels == wanted, 0].cpu().numpy()
        axis.scatter(own, np.full(len(own), -0.06 if not wanted else 1.06), s=26, color=colour, marker=marker, alpha=0.35, linewidths=0)
    axis.axvline(-b / w, color="black", linestyle="--", linewidth=1.8)
    start, end = border.x.item(), border.moved.item()
    axis.scatter([start], [chance(start)], s=150, color=CRITIC, zorder=5, edgecolor="black")
    axis.scatter([end], [chance(end)], s=170, color=CRITIC, zorder=5, edgecolor="black", marker="X")
    axis.annotate("", (end, chance(start)), (start, chance(start)), arrowprops={"arrowstyle": "-|>", "color": CRITIC, "linewidth": 2.5, "mutation_scale": 18})
    axis.set(xlim=_around(border), ylim=(-0.14, 1.14))


def _draw_two(axis: plt.Axes, border: Border, names: tuple[str, str]) -> None:
    """Points in the plane, the border, the box of all allowed changes, and the step to one of its corners."""
    for wanted, colour, marker in ((False, REAL, "o"), (True, FAKE, "^")):
        own = border.points[border.labels == wanted].cpu().numpy()
        axis.scatter(*own.T, s=34, color=colour, marker=marker, alpha=0.45, linewidths=0, label=names[wanted])
    w, b = border.w.cpu().numpy(), float(border.b)
    direction = np.array([-w[1], w[0]]) / np.linalg.norm(w)
    foot = -b * w / (w @ w)
    axis.plot(*np.stack([foot - 3 * direction, foot + 3 * direction]).T, color="black", linestyle="--", linewidth=1.8, label="border")
    x, moved = border.x.cpu().numpy(), border.moved.cpu().numpy()
    axis.add_patch(Rectangle(x - border.eps, 2 * border.eps, 2 * border.eps, facecolor=(*CRITIC, 0.15), edgecolor=CRITIC, linewidth=2, label="every change of at most ε"))
    axis.annotate("", moved, x, arrowprops={"arrowstyle": "-|>", "color": CRITIC, "linewidth": 2.5, "mutation_scale": 18})
    axis.scatter(*x, s=150, color=CRITIC, zorder=5, edgecolor="black", label="x")
    axis.scatter(*moved, s=170, color=CRITIC, zorder=5, edgecolor="black", marker="X", label="x + ε sign(∇J)")
    reach = _around(border)
    axis.set(xlim=reach, ylim=reach, aspect="equal")


def _around(border: Border) -> tuple[float, float]:
    """From where to where an axis has to go to show the points and all allowed changes, the same for both."""
    low = min(border.points.min().item(), (border.x.min() - border.eps).item())
    high = max(border.points.max().item(), (border.x.max() + border.eps).item())
    return low - 0.05 * (high - low), high + 0.05 * (high - low)
