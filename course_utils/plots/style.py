"""One look for the course: readable from the back of a lecture hall, safe for colour-blind readers."""
from __future__ import annotations

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.figure import Figure

PALETTE = sns.color_palette("colorblind")
REAL, FAKE, CRITIC, OTHER = PALETTE[0], PALETTE[1], PALETTE[2], PALETTE[4]  # blue, orange, green, pink
MARKERS = "osD^vPX*"
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))


def use_style() -> None:
    """Set fonts, grid and colours for every figure that follows. ``course_utils.plots`` does so when imported."""
    sns.set_theme(context="notebook", style="whitegrid", palette="colorblind", font_scale=1.2)
    plt.rcParams.update({
        "figure.dpi": 80, "savefig.dpi": 80, "lines.linewidth": 2.5, "axes.titleweight": "bold",
        "axes.titlesize": 14, "legend.frameon": True, "legend.framealpha": 0.9, "image.cmap": "gray",
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
