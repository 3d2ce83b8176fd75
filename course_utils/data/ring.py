"""A distribution that can be seen: Gaussians on a ring in the plane."""
from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from course_utils.validate import expect_count, expect_positive


@dataclass(frozen=True)
class Ring:
    """An equal mixture of ``modes`` Gaussians, centres on a circle of ``radius``, standard deviation ``std``.

    The default radius gives each coordinate a variance of about 1. Raises ValueError for no modes, or a
    radius or std that is not above 0.
    """

    modes: int = 8
    radius: float = math.sqrt(2)
    std: float = 0.1

    def __post_init__(self) -> None:
        expect_count(self.modes, "modes")
        expect_positive(self.radius, "radius")
        expect_positive(self.std, "std")

    @property
    def centres(self) -> Tensor:
        """The centres, (modes, 2), on the CPU."""
        angle = 2 * math.pi * torch.arange(self.modes, device="cpu") / self.modes
        return self.radius * torch.stack([angle.cos(), angle.sin()], dim=1)

    def sample(self, *shape: int, generator: torch.Generator | None = None) -> Tensor:
        """Points of the mixture, (*shape, 2); ``ring.sample(5, 64)`` gives 64 points for each of 5 runs.

        They lie on the device of ``generator``, without one on the CPU.
        """
        where = torch.device("cpu") if generator is None else generator.device
        centre = self.centres.to(where)[torch.randint(self.modes, shape, generator=generator, device=where)]
        return centre + self.std * torch.randn(*shape, 2, generator=generator, device=where)
