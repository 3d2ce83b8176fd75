"""Fully connected nets."""
from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from course_utils.validate import expect, expect_count


def mlp(sizes: Sequence[int], activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """A fully connected net from (…, sizes[0]) to (…, sizes[-1]), linear at the end.

    ``activation`` builds the non-linearity between layers. Raises ValueError for fewer than two sizes
    or a size below 1.
    """
    expect(len(sizes) >= 2, "sizes", "at least an input and an output size", list(sizes))
    for size in sizes:
        expect_count(size, "sizes")
    layers: list[nn.Module] = []
    for inputs, outputs in zip(sizes, sizes[1:]):
        layers += [nn.Linear(inputs, outputs), activation()]
    return nn.Sequential(*layers[:-1])


class _Squeeze(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.squeeze(-1)


def mlp_critic(sizes: Sequence[int], activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """A fully connected net from (B, sizes[0]) to one number for each, (B,): the logit of D. See ``mlp``."""
    return nn.Sequential(mlp([*sizes, 1], activation), _Squeeze())
