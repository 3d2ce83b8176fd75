"""One point for each thing measured in two ways."""
from __future__ import annotations

from itertools import cycle

from matplotlib.figure import Figure

from course_utils.plots.curves import Values, _array
from course_utils.plots.style import MARKERS, PALETTE, finish, legend_outside, new_figure
from course_utils.validate import expect


def scatter(groups: dict[str, tuple[Values, Values]], *, x: str, y: str, title: str | None = None) -> Figure:
    """Points by group, each with its own colour and marker: name -> (x values (N,), y values (N,))."""
    values = {name: (_array(xs), _array(ys)) for name, (xs, ys) in groups.items()}
    fits = len(values) > 0 and all(xs.ndim == 1 and xs.size and xs.shape == ys.shape for xs, ys in values.values())
    expect(fits, "groups", "name -> x values (N,), y values (N,)", {name: (xs.shape, ys.shape) for name, (xs, ys) in values.items()})
    fig, axis = new_figure(width=9, height=5.2)
    for (name, (xs, ys)), colour, marker in zip(values.items(), cycle(PALETTE), cycle(MARKERS)):
        axis.scatter(xs, ys, s=110, color=colour, marker=marker, edgecolor="black", linewidths=0.7, label=name)
    axis.set(xlabel=x, ylabel=y)
    if len(values) > 1:
        legend_outside(fig, axis)
    return finish(fig, title)
