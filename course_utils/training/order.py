"""Which pictures make up which batch."""
from __future__ import annotations

import torch
from torch import Tensor


class EpochOrder:
    """Every epoch's pictures in an order of its own, drawn from ``seed``, cut into whole batches.

    The ``count % batch`` pictures that are left over at the end of an epoch sit that epoch out.
    """

    def __init__(self, count: int, batch: int, seed: int, device: torch.device) -> None:
        self.size, self.steps_per_epoch = batch, count // batch
        self._count, self._device = count, device
        self._generator = torch.Generator("cpu").manual_seed(seed)
        self._epochs_drawn = 0
        self._order = torch.empty(0, dtype=torch.int64, device="cpu")

    def batch(self, step: int) -> Tensor:
        """The numbers of the pictures of ``step``, (batch,) int64 on the device. Steps only ever go up."""
        epoch, position = divmod(step, self.steps_per_epoch)
        while self._epochs_drawn <= epoch:  # a resumed training draws the epochs behind it once more
            self._order = torch.randperm(self._count, generator=self._generator, device="cpu").to(self._device)
            self._epochs_drawn += 1
        return self._order[position * self.size : (position + 1) * self.size]
