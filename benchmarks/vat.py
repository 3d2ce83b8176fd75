"""``vat_loss`` with one round of power iteration against the passes that it can't do without.

Those are one forward pass without gradient, one forward and backward to the input alone, one forward and backward.
What the floor lacks: drawing a direction, lengths, divergences.
"""
from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks import report
from benchmarks.timing import in_turns, threads
from course_utils import data
from course_utils.data import ImageSet
from course_utils.models import ConvNet, mlp
from course_utils.vat import vat_loss

EPS, BATCH = 1.5, 256
PAPER = (784, 1200, 600, 300, 150, 10)  # the net for MNIST with 100 labels
AS_FAST = 1 / 1.1  # of the floor's time at most 1.1


def floor(model: nn.Module, x: Tensor) -> Tensor:
    """The three passes, with the cheapest numbers that have a gradient."""
    with torch.no_grad():
        clean = model(x)
    moved = x.detach().clone().requires_grad_()
    torch.autograd.grad(F.cross_entropy(model(moved), clean.argmax(1)), moved)
    return F.cross_entropy(model(x), clean.argmax(1))


def circulating(model: nn.Module, x: Tensor, eps: float = EPS, xi: float = 1e-6) -> Tensor:
    """The usual lines: a constant added to the length of a direction, and the gradient by ``backward``."""
    with torch.no_grad():
        p = model(x).softmax(1)
    d = normalized(torch.rand_like(x) - 0.5).requires_grad_()
    F.kl_div(model(x + xi * d).log_softmax(1), p, reduction="batchmean").backward()
    d = normalized(d.grad)
    model.zero_grad()
    return F.kl_div(model(x + eps * d).log_softmax(1), p, reduction="batchmean")


def normalized(d: Tensor) -> Tensor:
    """d / (length + 1e-8): 0 where d is shorter than 1e-8."""
    return d / (d.flatten(1).norm(dim=1).view(-1, *[1] * (d.ndim - 1)) + 1e-8)


def models(pictures: ImageSet) -> dict[str, nn.Module]:
    """The nets that are timed."""
    torch.manual_seed(0)
    return {"the paper's net": nn.Sequential(nn.Flatten(), mlp(PAPER)), "ConvNet": ConvNet(pictures.shape, len(pictures.classes))}


def rows(pictures: ImageSet, rounds: int) -> Iterator[report.Row]:
    """A step (the loss and its backward) on one thread, for each net."""
    x = pictures.images[:BATCH]
    for name, model in models(pictures).items():

        def step(loss: Callable[[nn.Module, Tensor], Tensor], model: nn.Module = model) -> None:
            model.zero_grad()
            loss(model, x).backward()

        ways = {"baseline": lambda: step(floor), "course": lambda: step(lambda m, v: vat_loss(m, v, eps=EPS)), "usual": lambda: step(circulating)}
        with threads(1):
            seconds = in_turns(ways, rounds)
        yield report.row(f"VAT, {name}, against its three passes, threads: 1", seconds, 1, required=AS_FAST)
        yield report.row(f"VAT, {name}, against the usual lines, threads: 1", seconds, 1, baseline="usual")


def lengths(pictures: ImageSet) -> Iterator[str]:
    """How the loss depends on xi, of the course and of the usual lines: a line for each xi."""
    model, x = models(pictures)["ConvNet"], pictures.images[:BATCH]
    for xi in (1e-6, 1e-4, 1e-2, 1.0, 10.0):
        ours, theirs = (statistics.mean(loss().item() for _ in range(3)) for loss in (lambda: vat_loss(model, x, eps=EPS, xi=xi), lambda: circulating(model, x, xi=xi)))
        yield f"VAT loss at xi {xi:g}: course {ours:.2e}, the usual lines {theirs:.2e}"


def measure(fast: bool) -> tuple[list[report.Row], list[str]]:
    """Rows and lines for ``python -m benchmarks vat``."""
    pictures = data.load("digits")
    with torch.random.fork_rng(devices=[]):
        return list(rows(pictures, 3 if fast else 15)), list(lengths(pictures))
