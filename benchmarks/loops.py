"""What the loops of all picture GANs here share: two ways to train the same players, timed and held against each other.

The plain way is what most programs of that kind do: torchvision's MNIST data set with its PIL pictures
and transforms, a DataLoader, torch's Adam as it comes.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.datasets import MNIST, VisionDataset
from torchvision.transforms import Compose, Normalize, ToTensor

from benchmarks.same import largest_difference, overall_difference
from course_utils.data import ImageSet

LATENT, BATCH, LR, BETAS = 100, 64, 2e-4, (0.5, 0.999)  # of PyTorch-GAN's gan.py, dcgan.py and wgan_gp.py


# ---- a way to train ----------------------------------------------------------------------------------


@dataclass
class Players:
    """Both nets, each with its optimiser."""

    G: nn.Module
    D: nn.Module
    opt_g: torch.optim.Optimizer
    opt_d: torch.optim.Optimizer


def players(
    nets: Callable[[], tuple[nn.Module, nn.Module]], optimizer: Callable[..., torch.optim.Optimizer], dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Players:
    """Players with the nets G and D of ``nets``, which begin with the same weights whenever they are made."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        G, D = (net.to(device, dtype) for net in nets())
    return Players(G, D, *(optimizer(net.parameters(), lr=LR, betas=BETAS) for net in (G, D)))


Source = Callable[[], Tensor]
Step = Callable[[Players, Source, Source], None]  # players, minibatches of pictures in [-1, 1], minibatches of z


@dataclass(frozen=True)
class Way:
    """Players, where their minibatches come from, and the step that trains them."""

    players: Callable[..., Players]  # of a dtype, and a device if it isn't the CPU
    batches: Callable[[ImageSet], Iterator[Tensor]]
    step: Step


# ---- minibatches without end -------------------------------------------------------------------------


class Pictures(MNIST):
    """torchvision's MNIST, its ``__getitem__`` included, over pictures that are there already."""

    def __init__(self, pictures: ImageSet) -> None:
        VisionDataset.__init__(self, "", transform=Compose([ToTensor(), Normalize([0.5], [0.5])]))
        self.data = (pictures.images * 255).round().to(torch.uint8).squeeze(1).cpu()
        self.targets = pictures.labels.cpu()


def loaded(pictures: ImageSet) -> Iterator[Tensor]:
    """From a DataLoader, as most programs have it."""
    loader = DataLoader(Pictures(pictures), batch_size=BATCH, shuffle=True, drop_last=True)
    while True:
        for x, _ in loader:
            yield x


def by_index(pictures: ImageSet) -> Iterator[Tensor]:
    """From pictures held as one tensor, as the course has it."""
    stream = torch.Generator().manual_seed(0)
    while True:
        yield pictures.sample(BATCH, stream).mul_(2).sub_(1)


# ---- the comparison ----------------------------------------------------------------------------------


def contestants(ways: dict[str, Way], pictures: ImageSet, steps: int, device: torch.device | str = "cpu") -> dict[str, Callable[[], None]]:
    """What is timed: functions that train for ``steps`` steps more."""
    return {name: _training(way, pictures, steps, device) for name, way in ways.items()}


def _training(way: Way, pictures: ImageSet, steps: int, device: torch.device | str) -> Callable[[], None]:
    p, batches = way.players(torch.float32, device), way.batches(pictures)

    def train() -> None:
        for _ in range(steps):
            way.step(p, lambda: next(batches).to(device), lambda: torch.randn(BATCH, LATENT, device=device))

    return train


def trained(way: Way, pictures: ImageSet, steps: int, dtype: torch.dtype, batch: int = BATCH) -> nn.Module:
    """Both nets after ``steps`` steps, on the same minibatches and z for every way.

    Whatever else is drawn (dropout's masks, a penalty's points) comes from torch's own stream, which begins alike too.
    """
    p, of_data, of_noise = way.players(dtype), torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        for _ in range(steps):
            way.step(p, lambda: pictures.sample(batch, of_data).to(dtype) * 2 - 1,
                     lambda: torch.randn(batch, LATENT, generator=of_noise, dtype=dtype))
    return nn.ModuleList([p.G, p.D])


def difference(ways: dict[str, Way], pictures: ImageSet, steps: int, dtype: torch.dtype, batch: int = BATCH) -> float:
    """How far apart "course" and "baseline" of ``ways`` are after ``steps`` steps: the worst tensor, in float32 all together."""
    measure = largest_difference if dtype == torch.float64 else overall_difference
    return measure(*(trained(ways[name], pictures, steps, dtype, batch) for name in ("course", "baseline")))
