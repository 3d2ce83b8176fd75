"""How often a classifier is right, and how sure that figure is."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor, nn

from course_utils.data.imageset import ImageSet
from course_utils.training.code import nets_in
from course_utils.training.contracts import expect_data, expect_logits
from course_utils.training.mode import at_rest, frozen, mode
from course_utils.validate import expect, expect_count, expect_images

Model = Callable[[Tensor], Tensor]
Attack = Callable[[Model, Tensor, Tensor], Tensor]

_Z = 1.959964  # 95 % of a normal distribution lie within so many standard deviations


@dataclass(frozen=True)
class Evaluation:
    """``correct`` answers out of ``total``, with Wilson's 95 % interval of the accuracy, ``low`` to ``high``.

    The accuracy always lies within: rounding may not put an end on its other side.
    """

    correct: int
    total: int

    @property
    def accuracy(self) -> float:
        """The share of correct answers, in [0, 1]."""
        return self.correct / self.total

    @property
    def error(self) -> float:
        """The share of wrong answers, in [0, 1]."""
        return 1 - self.accuracy

    @property
    def low(self) -> float:
        """The lower end of the interval, in [0, 1]."""
        return max(0.0, min(self.accuracy, self._middle - self._half_width))

    @property
    def high(self) -> float:
        """The upper end of the interval, in [0, 1]."""
        return min(1.0, max(self.accuracy, self._middle + self._half_width))

    @property
    def _middle(self) -> float:
        return (self.accuracy + _Z**2 / (2 * self.total)) / (1 + _Z**2 / self.total)

    @property
    def _half_width(self) -> float:
        spread = self.accuracy * self.error / self.total + (_Z / (2 * self.total)) ** 2
        return _Z * sqrt(spread) / (1 + _Z**2 / self.total)

    def __str__(self) -> str:
        return f"{100 * self.accuracy:.1f} % ({100 * self.low:.1f} to {100 * self.high:.1f}, n={self.total})"


def evaluate(model: Model, data: ImageSet, attack: Attack | None = None, *, batch: int = 256) -> Evaluation:
    """Count the pictures of the ImageSet ``data`` that ``model`` names right, after ``attack`` if there is one.

    model    pictures (B, C, H, W) in [0, 1] -> logits (B, classes); in eval mode meanwhile, its parameters
             frozen, both as before afterwards. Pictures go to the device of its parameters: of a function, of
             the first net that it names
    attack   ``attack(model, x, y)`` -> pictures of the shape of ``x``, in [0, 1]; it may take gradients. Those of
             ``course_utils.attacks`` get their settings by partial: ``partial(pgd, eps=0.1, early_stop=True)``, which
             leaves pictures alone as soon as they fool the model and takes a fraction of the time
    batch    pictures at a time

    Raises ValueError for data, logits or attacked pictures that are not so, and for logits that are NaN.
    """
    expect(callable(model), "model", "a function pictures -> logits", type(model).__name__)
    expect(attack is None or callable(attack), "attack", "None, or a function (model, x, y) -> pictures", repr(attack))
    expect_count(batch, "batch")
    expect_data(data)
    nets = nets_in(model)  # those within a function too: lambda x: net((x - mean) / std)
    where = _device_of(nets, data)
    correct = 0
    with mode(model, train=False), frozen(*nets):
        for images, labels in zip(data.images.split(batch), data.labels.split(batch)):
            x, y = images.detach().to(where, copy=True), labels.to(where)  # the data set stays whole whatever is done to x
            if attack is not None:
                x = _attacked(attack, model, x, y)
            with torch.no_grad(), at_rest():
                logits = model(x)
            expect_logits(logits, len(x), len(data.classes))
            expect(not logits.isnan().any(), "model", "logits without NaN", "NaN")
            correct += (logits.argmax(1) == y).sum().item()
    return Evaluation(correct, len(data.images))


def _device_of(nets: list[nn.Module], data: ImageSet) -> torch.device:
    parameter = next((parameter for net in nets for parameter in net.parameters()), None)
    return data.images.device if parameter is None else parameter.device


def _attacked(attack: Attack, model: Model, x: Tensor, y: Tensor) -> Tensor:
    with torch.enable_grad():
        found = attack(model, x, y.clone())
    name = "attack(model, x, y)"
    expect_images(found, name)
    expect(found.shape == x.shape, name, f"the shape {tuple(x.shape)}", f"the shape {tuple(found.shape)}")
    return found.detach().clone()  # an attack may hand out pictures that it keeps
