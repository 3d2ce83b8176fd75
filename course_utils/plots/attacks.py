"""Attacks as one sees them in a lecture: one picture, strips, frames of a path, logits as lines, borders in the plane."""
from __future__ import annotations

from collections.abc import Callable, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from course_utils.plots.pictures import show_picture, tile
from course_utils.plots.style import CRITIC, FAKE, LINES, PALETTE, REAL, finish, legend_outside, new_figure
from course_utils.training.mode import at_rest
from course_utils.validate import expect, expect_images, expect_positive

YELLOW = PALETTE[8]


def attack_strips(before: Tensor, after: Tensor, noisy: Tensor, chances: Sequence[Tensor], classes: Sequence[str], *, magnify: float = 1.0, title: str | None = None) -> Figure:
    """For each picture (N, C, H, W) in [0, 1]: itself, its change, what became of it, noise of that size, and the top three answers.

    The change is drawn ``magnify`` times as large, around mid-grey. ``chances`` are three tensors (N, K): the probabilities for ``before``,
    ``after`` and ``noisy``, over the K ``classes``.
    """
    for name, pictures in (("before", before), ("after", after), ("noisy", noisy)):
        expect_images(pictures, name)
        expect(pictures.shape == before.shape, name, f"the shape {tuple(before.shape)}", f"the shape {tuple(pictures.shape)}")
    wanted = (len(before), len(classes))
    expect(len(chances) == 3 and all(c.shape == wanted for c in chances), "chances", f"three tensors {wanted}", [tuple(c.shape) for c in chances])
    expect_positive(magnify, "magnify")
    times = "" if magnify == 1 else f", drawn {magnify:g} times as large"
    names = ("the picture", f"its change{times}", "picture + change", "picture + noise")
    fig, axes = new_figure(2 * len(before), 4, width=13, height=4.9 * len(before) + (0.4 if title else 0), squeeze=False, height_ratios=[3.1, 1.5] * len(before))
    for row, (x, adv, noise) in enumerate(zip(before, after, noisy)):
        change = (0.5 + magnify * (adv - x).detach().cpu().float()).clamp(0, 1)
        for axis, name, picture in zip(axes[2 * row], names, (x, change, adv, noise)):
            show_picture(axis, picture, "\n".join(name.rsplit(", ", 1)) if row == 0 else None)
        axes[2 * row + 1, 1].axis("off")
        for axis, values, colour in zip(axes[2 * row + 1, [0, 2, 3]], (chances[0][row], chances[1][row], chances[2][row]), (REAL, FAKE, REAL)):
            _top_answers(axis, values, classes, colour)
    return finish(fig, title)


def _top_answers(axis: plt.Axes, chances: Tensor, classes: Sequence[str], colour: tuple, top: int = 3) -> None:
    """The ``top`` most likely classes as lying bars, each with its name and its per cent."""
    values, numbers = chances.detach().cpu().float().topk(min(top, len(classes)))
    for place, (value, number) in enumerate(zip(values.tolist(), numbers.tolist())):
        axis.barh(-place, value, color=colour, height=0.8, alpha=0.5)
        axis.text(0.03, -place, f"{classes[number]}  {100 * value:.0f} %", va="center", ha="left", fontsize=14, color="black")
    axis.set(xlim=(0, 1.02), ylim=(-top + 0.45, 0.55), xticks=[], yticks=[])
    for side in ("top", "right", "bottom"):
        axis.spines[side].set_visible(False)


def frames(paths: Tensor, marked: Tensor, names: Sequence[str], moments: Sequence[str], *, mark: str, title: str | None = None) -> Figure:
    """A row of frames for each of R paths (R, T, C, H, W), from left to right; frames that are ``marked`` (R, T) bool stand in yellow boxes.

    ``names`` stand at the left of the rows, ``moments`` above the T columns, ``mark`` says in a legend what the box means.
    """
    rows, columns = paths.shape[:2]
    expect(marked.shape == (rows, columns) and marked.dtype == torch.bool, "marked", f"bool ({rows}, {columns})", f"{marked.dtype} {tuple(marked.shape)}")
    expect(len(names) == rows, "names", f"one for each of {rows} paths", len(names))
    expect(len(moments) == columns, "moments", f"one for each of {columns} frames", len(moments))
    wide, high = paths.shape[-1] + 1, paths.shape[-2] + 1  # with the line between
    width = 12
    fig, axis = new_figure(width=width, height=(width - 1) * rows * high / (columns * wide) + (1.7 if title else 1.3))
    show_picture(axis, tile(paths.flatten(0, 1), columns))
    for row, column in marked.nonzero().tolist():
        box = Rectangle((column * wide + 0.2, row * high + 0.2), wide - 0.4, high - 0.4, fill=False, edgecolor=YELLOW, linewidth=3)
        axis.add_patch(box)
    axis.add_patch(Rectangle((-9, -9), 1, 1, fill=False, edgecolor=YELLOW, linewidth=3, label=mark))  # for the legend; outside of the picture
    axis.set(xlim=(-0.5, columns * wide + 0.5), ylim=(rows * high + 0.5, -0.5))
    axis.set_yticks([(i + 0.5) * high for i in range(rows)], list(names))
    axis.set_xticks([(i + 0.5) * wide for i in range(columns)], list(moments))
    axis.tick_params(labeltop=True, labelbottom=False, length=0, labelsize=14)
    axis.grid(visible=False)
    legend_outside(fig, axis)
    return finish(fig, title)


def logit_lines(eps: Tensor, panels: dict[str, Tensor], classes: Sequence[str], right: int, *, x: str, title: str | None = None) -> Figure:
    """The logits (T, K) along a direction over ``eps`` (T,), panels side by side by name; class ``right`` in black, grey where it wins."""
    expect(len(panels) > 0 and all(v.shape == (len(eps), len(classes)) for v in panels.values()), "panels", f"name -> logits ({len(eps)}, {len(classes)})", {n: tuple(v.shape) for n, v in panels.items()})
    expect(0 <= right < len(classes), "right", f"a class from 0 to {len(classes) - 1}", right)
    fig, axes = new_figure(1, len(panels), width=13, height=5.6, squeeze=False, sharey=True)
    at = eps.detach().cpu().numpy()
    for axis, (name, logits) in zip(axes[0], panels.items()):
        logits = logits.detach().cpu()
        wins = (logits.argmax(1) == right).numpy()
        axis.fill_between(at, 0, 1, where=wins, step="mid", transform=axis.get_xaxis_transform(), color=PALETTE[7], alpha=0.3, linewidth=0, label=f"{classes[right]} wins")
        for k, label in enumerate(classes):
            own = k == right
            style = {"color": "black", "linewidth": 4, "zorder": 3} if own else {"color": PALETTE[k % len(PALETTE)], "linestyle": LINES[k % len(LINES)], "linewidth": 2}
            axis.plot(at, logits[:, k].numpy(), label=f"{label} (right)" if own else label, **style)
        axis.set(xlabel=x, title=name, xlim=(at.min(), at.max()))
    axes[0, 0].set_ylabel("logit")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=6)
    return finish(fig, title)


def regions(panels: dict[str, Callable[[Tensor], Tensor]], points: Tensor, labels: Tensor, *, others: Tensor | None = None, names: tuple[str, str] = ("x", "o"), title: str | None = None) -> Figure:
    """What classifiers of the unit square answer everywhere, panels side by side: name -> function of points (N, 2) to scores (N,), above 0 for o.

    ``points`` (N, 2) with ``labels`` (N,) bool are drawn over it, True as o; ``others`` (M, 2), points without a label, as grey dots.
    """
    expect(len(panels) > 0, "panels", "at least one", panels)
    expect(points.ndim == 2 and points.shape[1] == 2 and labels.shape == points.shape[:1] and labels.dtype == torch.bool, "points, labels", "(N, 2) and bool (N,)", f"{tuple(points.shape)}, {labels.dtype} {tuple(labels.shape)}")
    side = torch.linspace(0, 1, 200)
    grid = torch.stack(torch.meshgrid(side, side, indexing="xy"), dim=-1).reshape(-1, 2)
    pale = ListedColormap([[1 - 0.35 * (1 - c) for c in colour] for colour in (REAL, CRITIC)])
    fig, axes = new_figure(1, len(panels), width=5.4 * len(panels), height=6, squeeze=False)
    for axis, (name, score) in zip(axes[0], panels.items()):
        with torch.no_grad(), at_rest():
            answer = (score(grid) > 0).reshape(200, 200).numpy()
        axis.imshow(answer, origin="lower", extent=(0, 1, 0, 1), cmap=pale, vmin=0, vmax=1, interpolation="nearest")
        if others is not None:
            axis.scatter(*others.T.numpy(), s=6, color="0.45", label="no label")
        for wanted, colour, marker in ((False, REAL, "x"), (True, CRITIC, "o")):
            axis.scatter(*points[labels == wanted].T.numpy(), s=60, color=colour, marker=marker, linewidths=2.5, label=names[wanted])
        axis.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xticks=[], yticks=[])
        axis.grid(visible=False)
        axis.set_title(name, fontsize=15, fontweight="normal")
    legend_outside(fig, axes[0, 0])
    return finish(fig, title)


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
