"""Small trainings that test_training.py compares; as a script, the same in processes of their own.

    training_runs.py killed                     a loop that writes checkpoints until somebody kills it
    torchrun … training_runs.py processes OUT   fit() in several processes, its result to the file OUT
    training_runs.py notebook OUT PORT          fit() in this process, then in two through notebook_launcher
"""
from __future__ import annotations

import random
import sys
import time

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F

from course_utils import runtime
from course_utils.data import ImageSet
from course_utils.training import fit, loop


def blobs(count: int = 96, classes: int = 3, seed: int = 0) -> ImageSet:
    """Pictures (1, 4, 4) of ``classes`` kinds: noise around one bright row each. Easy to learn."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    images = 0.6 * torch.rand(count, 1, 4, 4, generator=generator)
    images[torch.arange(count), :, labels] += 0.4
    return ImageSet(images, labels, tuple("abcdef"[:classes]), "blobs")


def net(dropout: float = 0.5, seed: int = 0) -> nn.Sequential:
    """A small classifier of ``blobs``, its weights and everything after it seeded."""
    runtime.seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 24), nn.ReLU(), nn.Dropout(dropout), nn.Linear(24, 3))


class Run:
    """A training written out, with dropout and with every random stream in use."""

    def __init__(self) -> None:
        self.model = net()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.01)
        self.stream = torch.Generator().manual_seed(5)

    def train(self, steps: int = 60, name: str = "run", stop_at: int | None = None, pause: float = 0.0, **settings):
        """Train; raise KeyboardInterrupt in the body of step ``stop_at``, after its update."""
        data = blobs()
        keep = dict(model=self.model, optimizer=self.optimizer, stream=self.stream)
        for step in (run := loop(steps, name, keep=keep, checkpoint_steps=7, **settings)):
            chosen = torch.randint(len(data), (16,), generator=self.stream)
            noise = random.random() + np.random.rand()
            loss = F.cross_entropy(self.model(data.images[chosen] + 0.1 * noise), data.labels[chosen])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            run.log(loss=loss, pair=torch.stack([loss, loss * 2]), noise=noise)
            if step % 10 == 0:
                run.snapshot(bias=self.model[1].bias)
            if step == stop_at:
                raise KeyboardInterrupt
            time.sleep(pause)
        return run.history


def normed() -> nn.Sequential:
    """A net with batch norm, which has buffers."""
    runtime.seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def pushed(model, x, y):
    """A loss that calls the model twice and takes a gradient to the pictures in between, as attacks do."""
    x = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(F.cross_entropy(model(x), y), x)
    return F.cross_entropy(model(x.detach()), y) + F.cross_entropy(model(x.detach() + 0.1 * slope.sign()), y)


def settled(model, x, y):
    """``pushed`` with the statistics of batch norm held still, as in virtual adversarial training."""
    model.eval()
    attacked = pushed(model, x, y)
    model.train()
    return attacked + F.cross_entropy(model(x), y)


def in_every_process(tensor: torch.Tensor) -> list[torch.Tensor]:
    """The ``tensor`` of each process, in their order."""
    if not dist.is_initialized():
        return [tensor]
    found = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
    dist.all_gather(found, tensor)
    return found


def fit_both(batch: int = 24) -> dict:
    """``fit`` with the ordinary loss and with ``pushed``: how many processes it ran in, and what came out.

    Also the running means of batch norm that each process ends with.
    """
    torch.set_num_threads(1)
    result = {}
    for key, options in dict(plain={}, pushed=dict(loss=pushed)).items():
        model = net(dropout=0.0)
        history = fit(model, blobs(), epochs=4, batch=batch, lr=0.01, device="cpu", progress=False, **options)
        result |= {f"{key} {name}": value.detach() for name, value in model.named_parameters()}
        result[f"{key} loss"] = history["loss"]
    model = normed()
    fit(model, blobs(), epochs=2, batch=batch, device="cpu", loss=settled)
    result["buffers"] = in_every_process(model[2].running_mean)
    result["processes"] = dist.get_world_size() if dist.is_initialized() else 1
    result["refused"] = ""
    try:
        fit(net(), blobs(), epochs=1, batch=15, device="cpu")
    except ValueError as error:
        result["refused"] = str(error)
    return result


def write_from_first(out: str) -> None:
    result = fit_both()
    if dist.get_rank() == 0:
        torch.save(result, out)
    dist.barrier()
    dist.destroy_process_group()


def main(mode: str, *rest: str) -> None:
    if mode == "killed":
        Run().train(pause=0.05)
    elif mode == "processes":
        write_from_first(rest[0])
    elif mode == "notebook":
        from accelerate import notebook_launcher

        fit_both()  # torch and fit() have been in use before, as in a notebook
        notebook_launcher(write_from_first, (rest[0],), num_processes=2, use_port=rest[1])


if __name__ == "__main__":
    main(*sys.argv[1:])
