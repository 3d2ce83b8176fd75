"""One process or several: what differs between them, through Hugging Face Accelerate."""
from __future__ import annotations

import os

import torch
import torch.distributed as dist
from torch import Tensor, nn

from course_utils.validate import expect

_TORCHRUN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def rank_and_count() -> tuple[int, int]:
    """The number of this process, and how many train together.

    0 and 1 unless torchrun or notebook_launcher started several. A variable of theirs that was left over in the environment says nothing: they set all of them.
    """
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    if all(os.environ.get(name) for name in _TORCHRUN):
        return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    return 0, 1


class Processes:
    """The processes that train together: one, unless torchrun or notebook_launcher started several.

    ``count`` of them, and the ``device`` of this one.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self._accelerator = device, None
        # A lone process makes no Accelerator: notebook_launcher refuses to start once the session has one.
        self._rank, self.count = rank_and_count()
        if self.count > 1:
            from accelerate import Accelerator  # takes a second, which one process saves

            self._accelerator = Accelerator(cpu=device.type == "cpu")
            self.device, found = self._accelerator.device, self._accelerator.num_processes
            wanted = f"{self.count} that Accelerate knows of (LOCAL_RANK, WORLD_SIZE set)"
            expect(found == self.count, "processes", wanted, found)

    def prepare(self, model: nn.Module) -> nn.Module:
        """``model`` itself in one process; in several, a wrapper that averages its gradients over them."""
        if self._accelerator is None:
            return model
        wrapped = self._accelerator.prepare(model)
        # Buffers copied before every forward pass would spoil a loss with several passes (seen with torch 2.11). Set
        # here, as torch 2.14 warns of the argument of this name, and what replaces it is unknown to older ones.
        wrapped.broadcast_buffers = False
        return wrapped

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
