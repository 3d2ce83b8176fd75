"""FGSM, PGD and robust accuracy: the course against a minimal loop and against four other packages, on two nets and one data set.

Both nets have two convolutions: the course's ConvNet with strides, and the one of PyTorch's MNIST example without, ten times the work.
A ratio says how many times as long the other one takes. What counts is only compared where the attacks succeed alike.
"""
from __future__ import annotations

import importlib
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks import peers, report
from benchmarks.peers import Package, as_tensor, stride
from benchmarks.timing import in_turns, threads
from course_utils import data
from course_utils.attacks import lbfgs, pgd
from course_utils.data import ImageSet
from course_utils.models import ConvNet
from course_utils.training import evaluate, fit

BATCH, EPS, STEPS = 256, 0.1, 40
ROBUST_EPS, ROBUST = (0.1, 0.2), 2.0  # half the time at both; what is saved is the time of the examples that are fooled early, fewer at 0.1
AS_FAST = 1 / 1.05  # of the minimal loop's time at most 1.05
ONE_POINT, HALF_A_POINT = 0.01 + 1e-9, 0.005 + 1e-9  # a difference of just so much is rounded either way
DISTANCE = 1.10  # of the peer's mean L2 at most so much


def example_net(shape: Sequence[int], classes: int) -> nn.Module:
    """The net of PyTorch's MNIST example, without its dropout."""
    channels, height, width = shape
    return nn.Sequential(
        nn.Conv2d(channels, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(64 * ((height - 4) // 2) * ((width - 4) // 2), 128), nn.ReLU(), nn.Linear(128, classes))


NETS: dict[str, Callable[[Sequence[int], int], nn.Module]] = {"ConvNet": ConvNet, "MNIST example": example_net}
ROUNDS = {"ConvNet": (8, 3), "MNIST example": (2, 1)}  # of one batch, and of robust accuracy


def classifier(pictures: ImageSet, net: str = "ConvNet") -> nn.Module:
    """One of ``NETS``, right on nearly all pictures; the same whenever it is made."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = NETS[net](pictures.shape, len(pictures.classes))
        fit(model, pictures, epochs=4, batch=64, seed=0, progress=False)
    return model.eval()


# ---- the minimal loops -------------------------------------------------------------------------------


def gradient(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Forward, and backward to the input."""
    x = x.requires_grad_()
    return torch.autograd.grad(F.cross_entropy(model(x), y, reduction="sum"), x)[0]


def loop_fgsm(model: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """Sign, clamp."""
    return (x + eps * gradient(model, x.detach().clone(), y).sign()).clamp(0, 1)


def loop_pgd(model: nn.Module, x: Tensor, y: Tensor, eps: float, steps: int) -> Tensor:
    """Sign, clamp, clamp, ``steps`` times from a random start."""
    low, high = (x - eps).clamp(0, 1), (x + eps).clamp(0, 1)
    adv = torch.clamp(x + eps * (2 * torch.rand_like(x) - 1), 0, 1)
    for _ in range(steps):
        step = stride(eps, steps) * gradient(model, adv, y).sign()
        adv = torch.clamp(adv.detach() + step, low, high)
    return adv


LOOP = Package(loop_fgsm, loop_pgd)


# ---- what is compared --------------------------------------------------------------------------------


def fooled(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Share of answers that are wrong."""
    with torch.no_grad():
        return (model(x).argmax(1) != y).double().mean().item()


def packages(there: dict[str, Package]) -> dict[str, Package]:
    """The course, the minimal loop, and the peers that are installed."""
    return {"course": peers.course(), "minimal loop": LOOP, **there}


def attacks(there: dict[str, Package], model: nn.Module, x: Tensor, y: Tensor) -> dict[str, dict[str, Callable[[], peers.Result]]]:
    """For FGSM and for PGD, what each package is asked to do."""
    ways = packages(there)
    return {
        "FGSM": {name: partial(way.fgsm, model, x, y, EPS) for name, way in ways.items()},
        f"PGD-{STEPS}": {name: partial(way.pgd, model, x, y, EPS, STEPS) for name, way in ways.items()},
    }


def successes(there: dict[str, Package], model: nn.Module, x: Tensor, y: Tensor) -> Iterator[str]:
    """One line for each attack: the share that each package fools, all within one point of the course's."""
    for attack, runs in attacks(there, model, x, y).items():
        shares = {name: fooled(model, as_tensor(run()), y) for name, run in runs.items()}
        alike = all(abs(share - shares["course"]) <= ONE_POINT for share in shares.values())
        yield f"{attack}, share fooled: {_listed(shares)}: {_verdict(alike, 'within one point')}"


def time_rows(there: dict[str, Package], model: nn.Module, x: Tensor, y: Tensor, rounds: int) -> Iterator[report.Row]:
    """FGSM and PGD of one batch on one thread: against the minimal loop, and against each peer; required of the fastest."""
    for attack, runs in attacks(there, model, x, y).items():
        calls = 8 if attack == "FGSM" else 1
        with threads(1):
            seconds = in_turns({name: partial(_repeat, run, calls) for name, run in runs.items()}, rounds)
        yield report.row(f"{attack} of {len(x)} pictures, minimal loop", seconds, calls, baseline="minimal loop", required=AS_FAST)
        yield from _against(there, seconds, calls, f"{attack} of {len(x)} pictures", 1.0)


def robust_rows(
    there: dict[str, Package], model: nn.Module, pictures: ImageSet, eps: float, rounds: int, required: float,
) -> tuple[list[report.Row], str]:
    """The accuracy that is left under PGD, of all ``pictures``: ``evaluate`` against each peer, and whether they agree."""
    left: dict[str, float] = {}

    def of_course() -> None:
        left["course"] = evaluate(model, pictures, attack=partial(pgd, eps=eps, steps=STEPS, early_stop=True)).accuracy

    def of_peer(name: str) -> None:
        right = 0
        for x, y in pictures.batches(BATCH):
            adv = as_tensor(there[name].pgd(model, x, y, eps, STEPS))
            right += round(len(x) * (1 - fooled(model, adv, y)))
        left[name] = right / len(pictures)

    with threads(1):
        seconds = in_turns({"course": of_course, **{name: partial(of_peer, name) for name in there}}, rounds)
    what = f"robust accuracy of {len(pictures)} pictures, PGD-{STEPS} within {eps}"
    alike = all(abs(share - left["course"]) <= HALF_A_POINT for share in left.values())
    return list(_against(there, seconds, 1, what, required)), f"{what}: {_listed(left)}: {_verdict(alike, 'within half a point')}"


def distances(model: nn.Module, x: Tensor, y: Tensor, steps: int) -> str:
    """The mean L2 length of the course's L-BFGS beside foolbox's Carlini-Wagner, targets drawn at random, where both succeed.

    foolbox tries 9 constants with ``steps`` steps of Adam each. Where it fails it returns black pictures: those don't count.
    """
    package = importlib.import_module("foolbox")
    target = (y + torch.randint(1, 10, y.shape, generator=torch.Generator().manual_seed(0))) % 10
    away = model(x).argmax(1) != target
    x, target = x[away], target[away]
    with threads(1):
        ours = lbfgs(model, x, target)
        attack = package.attacks.L2CarliniWagnerAttack(binary_search_steps=9, steps=steps)
        _, theirs, success = attack(package.PyTorchModel(model, bounds=(0, 1)), x, package.criteria.TargetedMisclassification(target), epsilons=None)
    both = ours.success & success & (model(theirs).argmax(1) == target)
    own, other = ours.distance[both].mean().item(), (theirs - x)[both].flatten(1).norm(dim=1).mean().item()
    return (f"L2 of L-BFGS {own:.3f} ({ours.gradients.double().mean():.0f} gradients a picture), of foolbox's Carlini-Wagner with 9 x {steps} steps {other:.3f}, "
            f"{both.sum()} of {len(x)} on which both succeed: {own / other:.3f} of it: {_verdict(own <= DISTANCE * other, f'at most {DISTANCE:.2f}')}")


def _repeat(function: Callable[[], object], times: int) -> None:
    for _ in range(times):
        function()


def _against(there: dict[str, Package], seconds: dict[str, list[float]], steps: int, what: str, required: float | None) -> Iterator[report.Row]:
    """A row for each peer; ``required`` is asked for where it is the fastest of them."""
    fastest = min(there, key=lambda name: statistics.median(seconds[name]), default=None)
    for name in there:
        yield report.row(f"{what}, {name}", seconds, steps, baseline=name, required=required if name == fastest else None)


def _listed(shares: dict[str, float]) -> str:
    return ", ".join(f"{name} {100 * share:.1f} %" for name, share in shares.items())


def _verdict(holds: bool, required: str) -> str:
    return f"{required}: {'yes' if holds else 'NO'}"


def of_net(net: str, there: dict[str, Package], pictures: ImageSet, fast: bool) -> Iterator[report.Row | str]:
    """Rows and lines for one of ``NETS``, as they come."""
    model = classifier(pictures, net)
    x, y = pictures.images[:BATCH], pictures.labels[:BATCH]
    batch_rounds, robust_rounds = (2, 1) if fast else ROUNDS[net]
    yield f"net: {net}"
    yield from successes(there, model, x, y)
    yield from (replace(row, name=f"{net}, {row.name}") for row in time_rows(there, model, x, y, batch_rounds))
    for eps in ROBUST_EPS if there else ():
        robust, line = robust_rows(there, model, pictures.take(256) if fast else pictures, eps, robust_rounds, ROBUST)
        yield from (replace(row, name=f"{net}, {row.name}") for row in robust)
        yield line


def measure(fast: bool) -> tuple[list[report.Row], list[str]]:
    """All rows and all lines of this part; the lines are printed as they come."""
    there, missing = peers.installed()
    pictures = data.load("digits").take(1000)
    rows, lines = [], []

    def keep(found: report.Row | str) -> None:
        if isinstance(found, report.Row):
            rows.append(found)
            return
        print(found, flush=True)
        lines.append(found)

    for name, why in missing.items():
        keep(f"{name} is not installed ({why}): left out")
    for net in list(NETS)[:1] if fast else NETS:
        for found in of_net(net, there, pictures, fast):
            keep(found)
    if "foolbox" in there:
        count, steps = (20, 200) if fast else (100, 1000)
        keep(distances(classifier(pictures), pictures.images[:count], pictures.labels[:count], steps))
    return rows, lines
