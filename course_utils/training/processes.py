"""One process or several: what differs between them, through Hugging Face Accelerate."""
from __future__ import annotations

import os

import torch
import torch.distributed as dist
from torch import Tensor, nn


class Processes:
    """The processes that train together: one, unless torchrun or notebook_launcher started several.

    ``count`` of them, and the ``device`` of this one.
    """

    def __init__(self, device: torch.device) -> None:
        self.count, self.device, self._rank, self._accelerator = 1, device, 0, None
        # A lone process makes no Accelerator: notebook_launcher refuses to start once the session has one.
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            from accelerate import Accelerator, DistributedDataParallelKwargs  # takes a second, which one process saves

            # Buffers copied before every forward pass would spoil a loss with several passes (seen with torch 2.11).
            apart = DistributedDataParallelKwargs(broadcast_buffers=False)
            self._accelerator = Accelerator(cpu=device.type == "cpu", kwargs_handlers=[apart])
            self.count, self.device = self._accelerator.num_processes, self._accelerator.device
            self._rank = self._accelerator.process_index

    def prepare(self, model: nn.Module) -> nn.Module:
        """``model`` itself in one process; in several, a wrapper that averages its gradients over them."""
        return model if self._accelerator is None else self._accelerator.prepare(model)

    def share(self, batch: int) -> slice:
        """The part of a batch that is this process's."""
        size = batch // self.count
        return slice(self._rank * size, (self._rank + 1) * size)

    def mean(self, value: Tensor) -> Tensor:
        """The mean of every process's ``value``, without gradient."""
        value = value.detach()
        return value if self._accelerator is None else self._accelerator.reduce(value, "mean")

    def share_buffers(self, model: nn.Module) -> None:
        """Give every process the first one's buffers (batch norm's running statistics)."""
        for buffer in model.buffers() if self._accelerator else ():
            dist.broadcast(buffer, src=0)
