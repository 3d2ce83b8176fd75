"""One picture under attack: before, the change, after, and what the model says."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from course_utils.plots.pictures import show_picture
from course_utils.plots.style import FAKE, REAL, finish, new_figure
from course_utils.validate import expect, expect_images


def attack(before: Tensor, after: Tensor, chances: tuple[Tensor, Tensor], classes: Sequence[str], *, title: str | None = None) -> Figure:
    """A picture (C, H, W) in [0, 1], its change (red up, blue down), what became of it, and the probabilities (K,) of the classes for both."""
    expect_images(before[None], "before")
    expect(after.shape == before.shape, "after", f"the shape {tuple(before.shape)}", f"the shape {tuple(after.shape)}")
    expect(all(c.shape == (len(classes),) for c in chances), "chances", f"two tensors ({len(classes)},)", [tuple(c.shape) for c in chances])
    fig, axes = new_figure(1, 4, width=13, height=3.7, width_ratios=(1, 1, 1, 1.7))
    show_picture(axes[0], before, "before")
    change = (after - before).detach().cpu().float().mean(0).numpy()
    reach = max(float(np.abs(change).max()), 1e-6)
    axes[1].imshow(change, cmap="vlag", vmin=-reach, vmax=reach)
    axes[1].set(xticks=[], yticks=[])
    axes[1].grid(visible=False)
    axes[1].set_title(f"the change, at most {np.abs(change).max():.2f}", fontsize=15, fontweight="normal")
    show_picture(axes[2], after, "after")
    places = np.arange(len(classes))
    for shift, values, colour, hatch, name in ((-0.2, chances[0], REAL, "", "before"), (0.2, chances[1], FAKE, "//", "after")):
        axes[3].bar(places + shift, values.detach().cpu().numpy(), 0.4, color=colour, hatch=hatch, edgecolor="white", label=name)
    axes[3].set_xticks(places, classes)
    axes[3].set(ylim=(0, 1.02), ylabel="probability", xlabel="class")
    axes[3].grid(visible=False, axis="x")
    axes[3].legend(loc="best")
    return finish(fig, title)
