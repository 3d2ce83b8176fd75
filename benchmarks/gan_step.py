"""A training step of a picture GAN: the course's ``gan_step`` against a plain loop that does the same mathematics.

Nets, batch size and optimiser are those of PyTorch-GAN's ``gan.py`` (fully connected, 28x28 pictures).
The plain loop is what most programs of that kind do: torchvision's MNIST data set with its PIL pictures
and transforms, a DataLoader, a sigmoid and BCELoss, torch's Adam as it comes.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.datasets import MNIST, VisionDataset
from torchvision.transforms import Compose, Normalize, ToTensor

from benchmarks.same import largest_difference
from course_utils.data import ImageSet
from course_utils.gan import gan_step
from course_utils.training.optimizers import adam

LATENT, BATCH, LR, BETAS = 100, 64, 2e-4, (0.5, 0.999)
Noise = Callable[[], Tensor]


# ---- what both have ----------------------------------------------------------------------------------


def generator() -> nn.Module:
    """z (B, 100) to pictures (B, 1, 28, 28) in [-1, 1]."""
    layers: list[nn.Module] = [nn.Linear(LATENT, 128), nn.LeakyReLU(0.2, inplace=True)]
    for inputs, outputs in ((128, 256), (256, 512), (512, 1024)):
        layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs, eps=0.8), nn.LeakyReLU(0.2, inplace=True)]
    return nn.Sequential(*layers, nn.Linear(1024, 28 * 28), nn.Tanh(), nn.Unflatten(1, (1, 28, 28)))


def critic(end: nn.Module) -> nn.Module:
    """Pictures to what ``end`` makes of the logits (B, 1)."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(28 * 28, 512), nn.LeakyReLU(0.2, inplace=True),
        nn.Linear(512, 256), nn.LeakyReLU(0.2, inplace=True), nn.Linear(256, 1), end)


@dataclass
class Players:
    """Both nets, each with its optimiser."""

    G: nn.Module
    D: nn.Module
    opt_g: torch.optim.Optimizer
    opt_d: torch.optim.Optimizer


def players(end: nn.Module, optimizer: Callable[..., torch.optim.Optimizer], dtype: torch.dtype = torch.float32) -> Players:
    """Players that begin with the same weights whenever they are made."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        G, D = generator().to(dtype), critic(end).to(dtype)
    return Players(G, D, *(optimizer(net.parameters(), lr=LR, betas=BETAS) for net in (G, D)))


def noise() -> Tensor:
    """A minibatch of z."""
    return torch.randn(BATCH, LATENT)


# ---- the plain loop ----------------------------------------------------------------------------------


class Pictures(MNIST):
    """torchvision's MNIST, its ``__getitem__`` included, over pictures that are there already."""

    def __init__(self, pictures: ImageSet) -> None:
        VisionDataset.__init__(self, "", transform=Compose([ToTensor(), Normalize([0.5], [0.5])]))
        self.data = (pictures.images * 255).round().to(torch.uint8).squeeze(1)
        self.targets = pictures.labels


def loaded(pictures: ImageSet) -> Iterator[Tensor]:
    """Minibatches without end, from a DataLoader."""
    loader = DataLoader(Pictures(pictures), batch_size=BATCH, shuffle=True, drop_last=True)
    while True:
        for x, _ in loader:
            yield x


def plain_players(dtype: torch.dtype = torch.float32) -> Players:
    """D ends in a sigmoid; torch's Adam as it comes."""
    return players(nn.Sigmoid(), torch.optim.Adam, dtype)


def plain_step(p: Players, x: Tensor, noise: Noise, reuse: bool) -> None:
    """D learns from ``x`` and from fakes, then G from fakes: the same ones with ``reuse``, else fresh ones."""
    loss = nn.BCELoss()
    valid, invalid = torch.ones(len(x), 1, dtype=x.dtype), torch.zeros(len(x), 1, dtype=x.dtype)

    p.opt_d.zero_grad()
    fake = p.G(noise())
    d_loss = loss(p.D(x), valid) + loss(p.D(fake.detach()), invalid)
    d_loss.backward()
    p.opt_d.step()

    p.opt_g.zero_grad()
    if not reuse:
        fake = p.G(noise())
    g_loss = loss(p.D(fake), valid)
    g_loss.backward()
    p.opt_g.step()


# ---- the course's way --------------------------------------------------------------------------------


def by_index(pictures: ImageSet) -> Iterator[Tensor]:
    """Minibatches without end, from pictures held as one tensor."""
    stream = torch.Generator().manual_seed(0)
    while True:
        yield pictures.sample(BATCH, stream).mul_(2).sub_(1)


def course_players(dtype: torch.dtype = torch.float32) -> Players:
    """D ends in logits (B,); Adam in one fused kernel."""
    return players(nn.Flatten(0), adam, dtype)


def course_step(p: Players, x: Tensor, noise: Noise, reuse: bool) -> None:
    """The same two updates."""
    gan_step(p.G, p.D, p.opt_g, p.opt_d, lambda: x, noise, together=True, reuse=reuse)


# ---- the comparison ----------------------------------------------------------------------------------

Step = Callable[[Players, Tensor, Noise, bool], None]


def run(step: Step, p: Players, batches: Iterator[Tensor], reuse: bool, steps: int) -> Callable[[], None]:
    """A function that trains for ``steps`` steps more, each on its next minibatch."""

    def train() -> None:
        for _ in range(steps):
            step(p, next(batches), noise, reuse)

    return train


def contestants(pictures: ImageSet, reuse: bool, steps: int) -> dict[str, Callable[[], None]]:
    """What is timed."""
    return {
        "baseline": run(plain_step, plain_players(), loaded(pictures), reuse, steps),
        "course": run(course_step, course_players(), by_index(pictures), reuse, steps),
    }


def trained(step: Step, p: Players, batches: list[Tensor], zs: list[Tensor], reuse: bool) -> nn.Module:
    """Both nets after one step on each minibatch, with the z of ``zs`` one after the other."""
    left = iter(zs)
    for x in batches:
        step(p, x, lambda: next(left), reuse)
    return nn.ModuleList([p.G, p.D])


def difference(pictures: ImageSet, reuse: bool, steps: int, dtype: torch.dtype, step: Step = course_step) -> float:
    """How far apart both ways are after ``steps`` steps on the same minibatches and the same z."""
    source, stream = loaded(pictures), torch.Generator().manual_seed(1)
    batches = [next(source).to(dtype) for _ in range(steps)]
    zs = [torch.randn(BATCH, LATENT, generator=stream, dtype=dtype) for _ in range(2 * steps)]
    plain = trained(plain_step, plain_players(dtype), batches, zs, reuse)
    return largest_difference(trained(step, course_players(dtype), batches, zs, reuse), plain)
