"""An auto-encoder that learned to put pictures right, in front of a classifier (Gu and Rigazio 2014); or as its beginning."""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from course_utils import runtime
from course_utils.models.mlp import mlp
from course_utils.training.loop import loop
from course_utils.training.history import History
from course_utils.training.optimizers import adam
from course_utils.training.order import EpochOrder
from course_utils.validate import expect, expect_count, expect_images, expect_positive

Spoil = Callable[[Tensor], Tensor]  # pictures -> pictures to be put right


class Redrawing(nn.Module):
    """The first layers of a classifier, and a decoder that draws the picture again from what they say: (B, C, H, W) in [0, 1] to the same.

    ``first`` maps pictures of ``shape`` to (B, width), and is trained in place: what it learns this way, the classifier begins
    with. The decoder, two layers with a sigmoid at the end, is thrown away. Raises ValueError when ``first`` answers in another shape.
    """

    def __init__(self, first: nn.Module, shape: Sequence[int], hidden: int = 256) -> None:
        super().__init__()
        with torch.no_grad():
            said = first(torch.zeros(2, *shape, device=next(first.parameters(), torch.empty(0)).device))
        expect(said.ndim == 2 and len(said) == 2, "first", "answers of the shape (B, width)", f"the shape {tuple(said.shape)}")
        self.first, self.shape = first, tuple(shape)
        self.draw = nn.Sequential(mlp([said.shape[1], hidden, math.prod(shape)]), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return self.draw(self.first(x)).view(-1, *self.shape)


def learn_to_restore(
    model: nn.Module, images: Tensor, spoiled: Spoil | Tensor, *, epochs: int, name: str, batch: int = 64, lr: float = 2e-3, progress: bool = True,
) -> History:
    """Train ``model`` in place to give ``images`` (N, C, H, W) in [0, 1] back from spoiled ones; mean squared error. No labels.

    spoiled   the pictures that go in: a tensor like ``images``, or a function, called anew at every step
    name      of the checkpoint; an interrupted training goes on when it is called again

    Returns the History, with ``loss`` at every step. Raises ValueError for bad arguments and for pictures that come back in another shape.
    """
    expect_images(images)
    expect(callable(spoiled) or isinstance(spoiled, Tensor) and spoiled.shape == images.shape, "spoiled", f"a function, or pictures {tuple(images.shape)}", getattr(spoiled, "shape", type(spoiled).__name__))
    expect_count(epochs, "epochs")
    expect_count(batch, "batch")
    expect(batch <= len(images), "batch", f"at most the {len(images)} pictures", batch)
    expect_positive(lr, "lr")
    images, spoiled = images.detach(), spoiled.detach() if isinstance(spoiled, Tensor) else spoiled
    model.to(images.device).train()
    opt, order = adam(model.parameters(), lr), EpochOrder(len(images), batch, runtime.base_seed(), images.device)
    run = loop(epochs * order.steps_per_epoch, name, keep=dict(model=model, opt=opt), config=dict(epochs=epochs, batch=batch), progress=progress)
    for step in run:
        chosen = order.batch(step)
        clean = images[chosen]
        restored = model(spoiled[chosen] if isinstance(spoiled, Tensor) else spoiled(clean))
        expect(restored.shape == clean.shape, "model", f"pictures {tuple(clean.shape)}", tuple(restored.shape))
        loss = (restored - clean).square().mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
        run.log(loss=loss)
    return run.history
