"""What a GAN loss asks of the critic's output, and how hard it pulls."""
from __future__ import annotations

import torch
from matplotlib.figure import Figure

from course_utils.plots.curves import draw_curves
from course_utils.plots.style import finish, legend_outside, new_figure
from course_utils.validate import expect

PARTS = {"real": "critic, on real samples", "fake": "critic, on fakes", "generator": "generator, on fakes"}


def loss_curves(losses: dict[str, object], *, reach: float = 4.0, title: str | None = None) -> Figure:
    """Values (upper row) and slopes (lower row) of losses over the critic's output, from -reach to reach, by name.

    Each loss has elementwise functions ``real``, ``fake`` and ``generator``, as a ``GANLoss`` has; the slopes are
    autograd's. Raises ValueError for no losses.
    """
    expect(len(losses) > 0, "losses", "at least one", losses)
    fig, axes = new_figure(2, len(PARTS), width=13, height=7.6, sharex=True)
    for column, (part, name) in enumerate(PARTS.items()):
        values, slopes = {}, {}
        for loss_name, loss in losses.items():
            s = torch.linspace(-reach, reach, 400, dtype=torch.float64, requires_grad=True)
            value = getattr(loss, part)(s)
            slope, = torch.autograd.grad(value.sum(), s)
            values[loss_name], slopes[loss_name] = (s.detach(), value.detach()), (s.detach(), slope)
        draw_curves(axes[0, column], values, x="", y="loss" if column == 0 else "", title=name)
        draw_curves(axes[1, column], slopes, x="critic's output s", y="slope" if column == 0 else "")
    legend_outside(fig, axes[0, 0])
    return finish(fig, title)
