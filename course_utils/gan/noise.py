"""Samplers of z, the generator's input."""
from __future__ import annotations

import torch
from torch import Tensor


def gaussian(*shape: int, generator: torch.Generator | None = None, device: torch.device | str | None = None) -> Tensor:
    """Standard normal z of ``shape``, (B, d) or (runs, B, d). Drawn where ``generator`` lives, then moved to ``device``.

    Without a generator it is drawn on ``device`` itself.
    """
    return torch.randn(*shape, generator=generator, device=_home(generator, device)).to(device)


def uniform(*shape: int, generator: torch.Generator | None = None, device: torch.device | str | None = None) -> Tensor:
    """z of ``shape``, uniform in [-1, 1) (Goodfellow et al. 2014 and Radford et al. 2015 draw it so)."""
    return torch.rand(*shape, generator=generator, device=_home(generator, device)).mul(2).sub(1).to(device)


def _home(generator: torch.Generator | None, device: torch.device | str | None) -> torch.device | str | None:
    return generator.device if generator is not None else device
