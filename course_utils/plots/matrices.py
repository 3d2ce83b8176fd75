"""Numbers in a grid, as colours."""
from __future__ import annotations

import numpy as np
import seaborn as sns
from matplotlib.figure import Figure
from torch import Tensor

from course_utils.plots.style import finish, new_figure
from course_utils.validate import expect


def matrices(panels: dict[str, Tensor], *, bar: str, title: str | None = None) -> Figure:
    """Matrices (rows, columns) side by side, by name, in one scale of colours; ``bar`` says what the numbers are.

    Colours go from blue through white at 0 to red where some numbers are below 0, and from pale to dark otherwise.
    """
    values = {name: matrix.detach().cpu().numpy() for name, matrix in panels.items()}
    expect(len(values) > 0 and all(v.ndim == 2 and v.size for v in values.values()), "panels", "name -> a matrix (rows, columns)", {name: v.shape for name, v in values.items()})
    low, high = min(v.min() for v in values.values()), max(v.max() for v in values.values())
    scale = {"vmin": low, "vmax": high, "cmap": "viridis"}
    if low < 0:
        reach = max(-low, high)
        scale = {"vmin": -reach, "vmax": reach, "cmap": "vlag"}
    shares = [max(v.shape[1], 1) ** 0.5 for v in values.values()]
    fig, axes = new_figure(1, len(values), width=min(4.2 * len(values) + 1, 13), height=4.2, squeeze=False, width_ratios=shares)
    for i, (axis, (name, v)) in enumerate(zip(axes[0], values.items())):
        sns.heatmap(np.asarray(v), ax=axis, square=True, xticklabels=False, yticklabels=False, cbar=False, **scale)
        axis.set_title(name, fontsize=15, fontweight="normal")
    fig.colorbar(axes[0, 0].collections[0], ax=list(axes[0]), label=bar, shrink=0.8)
    return finish(fig, title)
