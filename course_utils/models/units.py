"""Hidden units other than ReLU, and small nets of them: what is linear in its input, and what is not."""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from course_utils.models.mlp import mlp
from course_utils.validate import expect, expect_choice, expect_count, expect_positive

TUNED, SATURATED = 0.5, 30.0


class Maxout(nn.Module):
    """``outputs`` units, each the largest of ``pieces`` linear functions of its input (Goodfellow et al. 2013): (…, inputs) -> (…, outputs)."""

    def __init__(self, inputs: int, outputs: int, pieces: int = 4) -> None:
        super().__init__()
        expect_count(inputs, "inputs")
        expect_count(outputs, "outputs")
        expect_count(pieces, "pieces", 2)
        self.linear, self.pieces = nn.Linear(inputs, outputs * pieces), pieces

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).unflatten(-1, (-1, self.pieces)).amax(-1)


class Sigmoid(nn.Module):
    """2 sigmoid(gain x) - 1, around 0 between -1 and 1: nearly the line gain x / 2 where gain |x| is small, nearly flat where it is large."""

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        expect_positive(gain, "gain")
        self.gain = gain

    def forward(self, x: Tensor) -> Tensor:
        return 2 * torch.sigmoid(self.gain * x) - 1

    def extra_repr(self) -> str:
        return f"gain={self.gain}"


class Centre(nn.Module):
    """Pictures (B, C, H, W) in [0, 1] as rows (B, C H W) around 0, in [-1/2, 1/2]."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) - 0.5


class RowLSTM(nn.Module):
    """An LSTM that reads a picture (B, C, H, W) from top to bottom, ``rows`` rows at a time, and a linear layer on its last state: (B, classes).

    The forget gates' bias begins at 1, so that the state passes almost unchanged. Raises ValueError when ``rows`` doesn't divide H.
    """

    def __init__(self, shape: Sequence[int], classes: int, width: int = 64, rows: int = 4) -> None:
        super().__init__()
        expect_count(rows, "rows")
        channels, height, side = shape
        expect(height % rows == 0, "rows", f"a divisor of the height, {height}", rows)
        self.rows = rows
        self.lstm, self.head = nn.LSTM(channels * side * rows, width, batch_first=True), nn.Linear(width, classes)
        with torch.no_grad():
            self.lstm.bias_ih_l0[width : 2 * width] += 1

    def forward(self, x: Tensor) -> Tensor:
        strips = (x - 0.5).transpose(1, 2).flatten(2)  # (B, H, C W)
        states, _ = self.lstm(strips.unflatten(1, (-1, self.rows)).flatten(2))
        return self.head(states[:, -1])


def _two_layers(activation: Callable[[], nn.Module]) -> Callable[[Sequence[int], int, int], nn.Module]:
    return lambda shape, classes, width: nn.Sequential(Centre(), mlp([math.prod(shape), width, width, classes], activation))


def _maxout(shape: Sequence[int], classes: int, width: int) -> nn.Module:
    return nn.Sequential(Centre(), Maxout(math.prod(shape), width), Maxout(width, width), nn.Linear(width, classes))


UNITS: dict[str, Callable[[Sequence[int], int, int], nn.Module]] = {
    "ReLU": _two_layers(nn.ReLU),
    "maxout": _maxout,
    "tuned sigmoid": _two_layers(lambda: Sigmoid(TUNED)),
    "LSTM": RowLSTM,
    "saturated sigmoid": _two_layers(lambda: Sigmoid(SATURATED)),
}


def unit_net(kind: str, shape: Sequence[int], classes: int, width: int = 100) -> nn.Module:
    """A classifier of one kind of unit: pictures (B, C, H, W) in [0, 1] of ``shape`` (C, H, W) to logits (B, classes).

    ``kind`` is 'ReLU', 'maxout' (four pieces), 'tuned sigmoid' (kept in its middle: gain 1/2), 'saturated sigmoid' (gain 30): two hidden
    layers of ``width``; or 'LSTM': a ``RowLSTM``. Raises ValueError, listing the names, for another one.
    """
    expect_choice(kind, "kind", tuple(UNITS))
    expect_count(classes, "classes", 2)
    expect_count(width, "width")
    return UNITS[kind](shape, classes, width)
