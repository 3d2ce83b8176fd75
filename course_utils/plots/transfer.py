"""Tables as colours, with the figure in each cell: who fools whom."""
from __future__ import annotations

from collections.abc import Sequence

import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from course_utils.plots.style import finish, new_figure
from course_utils.validate import expect


def tables(
    panels: dict[str, Tensor], rows: Sequence[str], columns: Sequence[str], *, x: str, y: str, bar: str = "%", framed: bool = True, title: str | None = None,
) -> Figure:
    """Tables (R, C) of per cents side by side, by name, in one scale from 0 to 100, each cell with its figure.

    ``rows`` and ``columns`` name the lines, ``x`` and ``y`` say what they are; ``framed`` draws a frame around the diagonal,
    where source and target are the same.
    """
    values = {name: table.detach().cpu().numpy() for name, table in panels.items()}
    shape = (len(rows), len(columns))
    expect(len(values) > 0 and all(v.shape == shape for v in values.values()), "panels", f"name -> a table {shape}", {name: v.shape for name, v in values.items()})
    low, high = min(v.min() for v in values.values()), max(v.max() for v in values.values())
    expect(0 <= low and high <= 100, "panels", "per cents from 0 to 100", f"{low:.4g} to {high:.4g}")
    width = min(14, 1.8 + len(values) * (1.0 + 0.62 * len(columns)))
    fig, axes = new_figure(1, len(values), width=width, height=2.1 + 0.55 * len(rows), squeeze=False, sharey=True)
    for axis, (name, v) in zip(axes[0], values.items()):
        sns.heatmap(v, ax=axis, vmin=0, vmax=100, cmap="cividis", annot=True, fmt=".0f", annot_kws={"fontsize": 15}, linewidths=1, xticklabels=columns, yticklabels=rows, cbar=False)
        axis.set_title(name, fontsize=16, fontweight="normal")
        axis.set(xlabel=x, ylabel=y if axis is axes[0, 0] else "")
        axis.tick_params(axis="both", length=0, labelsize=15)
        axis.tick_params(axis="y", labelrotation=0)
        axis.tick_params(axis="x", labelrotation=90 if max(map(len, columns)) > 5 else 0)
        for i in range(min(shape) if framed else 0):
            axis.add_patch(Rectangle((i, i), 1, 1, fill=False, edgecolor="#d55e00", linewidth=3, clip_on=False))
    fig.colorbar(axes[0, 0].collections[0], ax=list(axes[0]), label=bar, shrink=0.85)
    return finish(fig, title)
