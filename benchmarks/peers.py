"""Four other packages of attacks, each used as its own documentation does, and what of them is installed.

``pip install -e '.[bench]'`` brings foolbox and ART. torchattacks asks for a release of requests that Jupyter can't use, and
cleverhans for TensorFlow Probability; neither needs these for what is measured here: ``pip install --no-deps torchattacks cleverhans``.
"""
from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from course_utils.attacks import fgsm, pgd

Result = Tensor | np.ndarray
Fast = Callable[[nn.Module, Tensor, Tensor, float], Result]  # model, x, y, eps
Projected = Callable[[nn.Module, Tensor, Tensor, float, int], Result]  # and steps, each of 2.5 eps / steps, from a random start


@dataclass(frozen=True)
class Package:
    """FGSM and PGD in the max-norm, on pictures in [0, 1]."""

    fgsm: Fast
    pgd: Projected


def stride(eps: float, steps: int) -> float:
    """The size of a step of PGD, for all alike."""
    return 2.5 * eps / steps


def course() -> Package:
    """The course's own."""
    return Package(lambda model, x, y, eps: fgsm(model, x, y, eps=eps), lambda model, x, y, eps, steps: pgd(model, x, y, eps=eps, steps=steps))


def torchattacks() -> Package:
    """Harry Kim's torchattacks."""
    package = importlib.import_module("torchattacks")
    return Package(
        lambda model, x, y, eps: package.FGSM(model, eps=eps)(x, y),
        lambda model, x, y, eps, steps: package.PGD(model, eps=eps, alpha=stride(eps, steps), steps=steps, random_start=True)(x, y))


def foolbox() -> Package:
    """The Bethge lab's foolbox."""
    package = importlib.import_module("foolbox")

    def run(attack: object, model: nn.Module, x: Tensor, y: Tensor, eps: float) -> Tensor:
        return attack(package.PyTorchModel(model, bounds=(0, 1)), x, y, epsilons=eps)[1]

    return Package(
        lambda model, x, y, eps: run(package.attacks.LinfFastGradientAttack(), model, x, y, eps),
        lambda model, x, y, eps, steps: run(package.attacks.LinfPGD(abs_stepsize=stride(eps, steps), steps=steps), model, x, y, eps))


def cleverhans() -> Package:
    """The cleverhans lab's cleverhans."""
    attacks = "cleverhans.torch.attacks"
    fast = importlib.import_module(f"{attacks}.fast_gradient_method").fast_gradient_method
    projected = importlib.import_module(f"{attacks}.projected_gradient_descent").projected_gradient_descent
    box = {"clip_min": 0.0, "clip_max": 1.0}
    return Package(
        lambda model, x, y, eps: fast(model, x, eps, np.inf, y=y, **box),
        lambda model, x, y, eps, steps: projected(model, x, eps, stride(eps, steps), steps, np.inf, y=y, **box))


def art() -> Package:
    """IBM's adversarial robustness toolbox. It takes and returns numpy arrays."""
    evasion = importlib.import_module("art.attacks.evasion")
    classification = importlib.import_module("art.estimators.classification")

    def run(attack: Callable[..., object], model: nn.Module, x: Tensor, y: Tensor, **how: object) -> np.ndarray:
        classifier = classification.PyTorchClassifier(
            model, nn.CrossEntropyLoss(), input_shape=tuple(x.shape[1:]), nb_classes=10, clip_values=(0.0, 1.0), device_type="cpu")
        return attack(classifier, batch_size=len(x), **how).generate(x.numpy(), y.numpy())

    return Package(
        lambda model, x, y, eps: run(evasion.FastGradientMethod, model, x, y, eps=eps),
        lambda model, x, y, eps, steps: run(evasion.ProjectedGradientDescent, model, x, y, eps=eps, eps_step=stride(eps, steps), max_iter=steps,
                                            num_random_init=1, verbose=False))


PEERS = {"torchattacks": torchattacks, "foolbox": foolbox, "cleverhans": cleverhans, "ART": art}


def installed() -> tuple[dict[str, Package], dict[str, str]]:
    """The packages that are there, and for each of the others why it isn't."""
    there, missing = {}, {}
    for name, load in PEERS.items():
        try:
            there[name] = load()
        except ImportError as error:
            missing[name] = str(error)
    return there, missing


def as_tensor(result: Result) -> Tensor:
    """An attack's answer as a tensor without a graph."""
    return torch.as_tensor(result).detach()
