"""Before it answers, a net moves the picture to where it is less sure (Goodfellow's "confidence-reducing perturbation at test time")."""
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from course_utils.training.mode import recurrent_without_cudnn
from course_utils.validate import expect, expect_count, expect_positive

Model = Callable[[Tensor], Tensor]


class Hedged(nn.Module):
    """``model`` at a picture from which the confidence in its own answer has been reduced: x in [0, 1] -> logits (B, K).

    ``steps`` steps, each moving every pixel by ``size`` against the sign of the gradient of the largest log probability, within
    [0, 1]. An example just across a border slides back over it; a picture far from borders stays on its side.
    The step itself has no useful gradient: for an attacker the logits' gradient passes through it as if it added a constant.
    Works under ``no_grad`` too. Raises ValueError for a model that isn't callable, ``size`` not above 0, ``steps`` below 1.
    """

    def __init__(self, model: Model, size: float, steps: int = 1) -> None:
        super().__init__()
        expect(callable(model), "model", "a function of x that returns logits", type(model).__name__)
        expect_positive(size, "size")
        expect_count(steps, "steps")
        self.model, self.size, self.steps = model, size, steps

    def forward(self, x: Tensor) -> Tensor:
        moved = x.detach()
        with torch.enable_grad():
            for _ in range(self.steps):
                moved.requires_grad_()
                with recurrent_without_cudnn():
                    sure = self.model(moved).log_softmax(1).amax(1)
                slope, = torch.autograd.grad(sure.sum(), moved)
                moved = (moved - self.size * slope.sign()).clamp(0, 1).detach()
        return self.model(x + (moved - x).detach())
