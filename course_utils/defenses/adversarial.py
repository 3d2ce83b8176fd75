"""Training on adversarial examples (Goodfellow et al. 2014, section 6; Madry et al. 2017, section 2.1)."""
from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from course_utils.training.fit import Loss, cross_entropy
from course_utils.validate import expect

Model = Callable[[Tensor], Tensor]
Attack = Callable[[Model, Tensor, Tensor], Tensor]


def adversarial(model: Model, x: Tensor, y: Tensor, *, attack: Attack, clean: float = 0.0, loss: Loss = cross_entropy) -> Tensor:
    """(1 - clean) times the loss at ``attack(model, x, y)`` + clean times that at x, for ``fit(..., loss=partial(adversarial, attack=...))``: ().

    model   pictures (B, ...) in [0, 1] -> logits (B, K), in training; the attack sees it as it is now
    attack  ``attack(model, x, y)`` -> examples of the shape of x, in [0, 1]; settings by partial, too, so that two
            trainings with different ones can be told apart. No gradient flows through it
    clean   the weight of the loss at x itself, 0 to 1 (Goodfellow et al.: 0.5; Madry et al.: 0)
    loss    ``loss(model, x, y)`` -> one number, as ``fit`` takes it

    Raises ValueError for another ``clean``, and for an attack that returns another shape.
    """
    expect(callable(attack), "attack", "a function (model, x, y) -> examples", repr(attack))
    number = isinstance(clean, (int, float)) and not isinstance(clean, bool)
    expect(number and 0 <= clean <= 1, "clean", "a number from 0 to 1", repr(clean))
    expect(callable(loss), "loss", "a function (model, x, y) -> one number", repr(loss))
    found = attack(model, x, y)
    expect(isinstance(found, Tensor) and found.shape == x.shape, "attack(model, x, y)", f"the shape {tuple(x.shape)}", getattr(found, "shape", type(found).__name__))
    attacked = loss(model, found.detach(), y)
    return attacked if clean == 0 else (1 - clean) * attacked + clean * loss(model, x, y)


def from_new_points(attack: Callable[..., Tensor], **settings: object) -> Attack:
    """``attack`` with ``settings``, from other random starts at every call: torch's global stream says which.

    For training: an attack without a ``generator`` begins at the same points every time, so that the net would meet the
    same starts in every batch. ``fit`` goes on from a checkpoint with the stream as it was, and so does this. Raises
    ValueError for settings with a ``generator``.
    """
    expect(callable(attack), "attack", "a function (model, x, y, *, generator, ...) -> examples", repr(attack))
    expect("generator" not in settings, "settings", "no generator: torch's global stream draws", "a generator")
    return partial(_anew, attack=partial(attack, **settings))


def _anew(model: Model, x: Tensor, y: Tensor, *, attack: Attack) -> Tensor:
    drawn = torch.randint(2**62, (), device="cpu").item()
    return attack(model, x, y, generator=torch.Generator().manual_seed(drawn))
