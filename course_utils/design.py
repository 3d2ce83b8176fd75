"""A universal engineering machine in small: cars of twelve design numbers, a simulator that knows the truth, and designs found by ascent.

A design is twelve numbers in [0, 1], each the place of a quantity between its least and its greatest value on a logarithmic scale.
Five of them are the engineer's free choice. The other seven are bound to them by physics: an engine has the power that its volume and
speed give, that power has to be cooled, carried by a shaft, geared to the speed at which drag takes all of it, and so on. Cars on the
road keep these ties; so they fill a thin sheet of the space of all designs, and only there do all parts work together.
"""
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from course_utils import runtime
from course_utils.training.mode import at_rest, mode
from course_utils.validate import expect, expect_count, expect_in_box, expect_positive


class Quantity(NamedTuple):
    """One design number: its name, its unit, and what 0 and 1 stand for."""

    name: str
    unit: str
    low: float
    high: float


QUANTITIES = (
    Quantity("engine volume", "l", 0.8, 8.0), Quantity("engine speed", "1/min", 3500, 10000), Quantity("tyre radius", "m", 0.26, 0.42),
    Quantity("frontal area", "m²", 1.5, 2.9), Quantity("drag coefficient", "", 0.2, 0.5),
    Quantity("power", "kW", 30, 700), Quantity("radiator", "m²", 0.08, 1.6), Quantity("mass", "kg", 600, 2600), Quantity("gear ratio", "", 1.4, 7.0),
    Quantity("tyre width", "m", 0.1, 0.45), Quantity("shaft", "mm", 15, 70), Quantity("downforce area", "m²", 0.3, 6.0),
)
NAMES = tuple(quantity.name for quantity in QUANTITIES)
FREE, TIED = NAMES[:5], NAMES[5:]

AIR, GRAVITY, ROLLING, EFFICIENCY = 1.2, 9.81, 0.012, 0.9  # kg/m³, m/s², of the weight, engine to road
PRESSURE = 1.0e6  # mean pressure in the cylinders, Pa; a four-stroke engine works in every second turn
TOLERANCE = 0.25  # a part that is this much (in the logarithm) off what the others ask of it leaves exp(-1/2) of the power
_BUILT = {"engine volume": (1.2, 3.2), "engine speed": (4500, 7000), "tyre radius": (0.29, 0.36), "frontal area": (1.9, 2.5), "drag coefficient": (0.27, 0.4)}
_LOW, _HIGH = (torch.tensor([getattr(quantity, end) for quantity in QUANTITIES], dtype=torch.float64, device="cpu").log() for end in ("low", "high"))


def to_quantities(designs: Tensor) -> dict[str, Tensor]:
    """Designs (N, 12) in [0, 1] as quantities in their units: name -> float64 (N,), on the CPU. Raises ValueError for other shapes and values."""
    _expect_designs(designs)
    logs = designs.detach().cpu().double() * (_HIGH - _LOW) + _LOW
    return dict(zip(NAMES, logs.exp().T))


def to_designs(quantities: dict[str, Tensor]) -> Tensor:
    """The way back: name -> (N,) to float32 (N, 12), cut off at 0 and 1. Raises ValueError unless all twelve are there."""
    expect(set(quantities) == set(NAMES), "quantities", ", ".join(NAMES), ", ".join(quantities))
    logs = torch.stack([_exact(quantities[name]).log() for name in NAMES], dim=1)
    return ((logs - _LOW) / (_HIGH - _LOW)).clamp(0, 1).float()


def _exact(values: object) -> Tensor:
    """``values`` as float64 on the CPU: Apple's GPU has none."""
    return values.cpu().double() if isinstance(values, Tensor) else torch.as_tensor(values, dtype=torch.float64, device="cpu")


def flat_out(power: Tensor, drag_area: Tensor, weight: Tensor | float = 0.0) -> Tensor:
    """The speed in m/s at which drag and rolling take all of ``power`` (W at the road): AIR/2 drag_area v³ + ROLLING weight v = power.

    ``drag_area`` in m² is the drag coefficient times the frontal area, ``weight`` is in N. By halving, to 1e-9 m/s.
    """
    low, high = torch.zeros_like(power), (2 * power / (AIR * drag_area)) ** (1 / 3)
    for _ in range(40):
        middle = (low + high) / 2
        spare = AIR / 2 * drag_area * middle**3 + ROLLING * weight * middle < power
        low, high = torch.where(spare, middle, low), torch.where(spare, high, middle)
    return (low + high) / 2


def asked(q: dict[str, Tensor]) -> dict[str, Tensor]:
    """What each tied quantity should be, given the others in ``q``: name -> (N,) for the seven of ``TIED``.

    power           of a four-stroke engine: pressure times volume times half the turns
    radiator        in proportion to the power that it has to cool
    mass            the body grows with the frontal area; engine, radiator and tyres are added
    gear ratio      turns of the engine over turns of the wheels at the speed v at which drag takes all the power
    tyre width      in proportion to the load
    shaft           the cube of its diameter in proportion to the torque at the wheels
    downforce area  presses the car down with 0.4 of its weight at v
    """
    watts, turns = 1000 * q["power"], q["engine speed"] / 60
    v = (2 * EFFICIENCY * watts / (AIR * q["drag coefficient"] * q["frontal area"])) ** (1 / 3)
    return {
        "power": PRESSURE * q["engine volume"] / 1000 * turns / 2 / 1000,
        "radiator": 0.0025 * q["power"],
        "mass": 420 * q["frontal area"] + 70 * q["engine volume"] + 60 * q["radiator"] + 400 * q["tyre width"],
        "gear ratio": turns * 2 * math.pi * q["tyre radius"] / v,
        "tyre width": 1.4e-4 * q["mass"],
        "shaft": 5.0 * (watts / (2 * math.pi * turns) * q["gear ratio"]) ** (1 / 3),
        "downforce area": 0.8 * q["mass"] * GRAVITY / (AIR * v**2),
    }


def mismatch(designs: Tensor) -> Tensor:
    """How far each tied quantity is from what the others ask of it, as the logarithm of the ratio: float64 (N, 7); 0 is sound."""
    q = to_quantities(designs)
    wanted = asked(q)
    return torch.stack([(q[name] / wanted[name]).log() for name in TIED], dim=1)


def simulate(designs: Tensor) -> Tensor:
    """The truth: the top speed of designs (N, 12) in km/h, float32 (N,) on their device.

    Parts that don't fit each other cost power, exp(-1/2 sum (mismatch / TOLERANCE)²) of it is left; then the balance of ``flat_out``
    with drag and rolling. Raises ValueError for other shapes and for values outside [0, 1].
    """
    q = to_quantities(designs)
    left = (-(mismatch(designs) / TOLERANCE).square().sum(1) / 2).exp()
    speed = flat_out(EFFICIENCY * left * 1000 * q["power"], q["drag coefficient"] * q["frontal area"], GRAVITY * q["mass"])
    return (3.6 * speed).float().to(designs.device)


def sound(free: dict[str, Tensor]) -> Tensor:
    """Designs float32 (N, 12) that keep all ties: ``free`` gives the five free quantities, name -> (N,). Cut off where they leave the box."""
    expect(set(free) == set(FREE), "free", ", ".join(FREE), ", ".join(free))
    q = {name: _exact(value) for name, value in free.items()}
    q |= {name: torch.ones_like(q["engine volume"]) for name in TIED}
    for _ in range(30):  # mass and tyres ask of each other: settled after a few rounds
        for name in TIED:
            q[name] = asked(q)[name]
    return to_designs(q)


def cars(count: int, *, generator: torch.Generator | None = None, scatter: float = 0.03) -> Tensor:
    """``count`` cars as they are built, float32 (count, 12): free choices from a part of their range, ties kept up to ``scatter``.

    ``scatter`` is the spread of the logarithm of each tied quantity. ``generator`` (CPU) is runtime.generator("cars") when None.
    Raises ValueError for a count below 1 or a scatter that isn't positive.
    """
    expect_count(count, "count")
    expect_positive(scatter, "scatter")
    generator = runtime.generator("cars") if generator is None else generator
    chosen = torch.rand(len(FREE), count, generator=generator, dtype=torch.float64, device="cpu")
    free = {name: low * (high / low) ** share for (name, (low, high)), share in zip(_BUILT.items(), chosen)}
    noise = torch.randn(count, len(TIED), generator=generator, dtype=torch.float64, device="cpu") * scatter
    places = noise / (_HIGH - _LOW)[len(FREE):]
    designs = sound(free)
    designs[:, len(FREE):] = (designs[:, len(FREE):] + places).clamp(0, 1).float()
    return designs


@dataclass(frozen=True, eq=False)
class Ascent:
    """``path`` float32 (steps + 1, N, 12), the designs from the start on, and ``scores`` (steps + 1, N), what was climbed."""

    path: Tensor
    scores: Tensor

    @property
    def designs(self) -> Tensor:
        """The last designs, (N, 12)."""
        return self.path[-1]


def ascend(score: Callable[[Tensor], Tensor], start: Tensor, *, steps: int = 100, step_size: float = 0.02) -> Ascent:
    """Designs walked uphill on ``score`` (designs (N, 12) -> (N,)) in steps of equal length, kept inside [0, 1].

    Each of the N rows of ``start`` walks by itself. ``score`` is asked in eval mode, modules within a function too. Only the gradient to the designs is taken: parameters and their gradients stay as
    they are. Raises ValueError for bad arguments and for a score of another shape.
    """
    _expect_designs(start)
    expect_count(steps, "steps")
    expect_positive(step_size, "step_size")
    path, scores = [start.detach()], []
    for step in range(steps + 1):
        with torch.enable_grad():
            x = path[-1].clone().requires_grad_()
            with mode(score, train=False), at_rest():
                value = score(x)
            expect(value.shape == (len(x),), "score", f"one number a design, ({len(x)},)", tuple(value.shape))
            (slope,) = torch.autograd.grad(value.sum(), x)
        scores.append(value.detach())
        if step < steps:
            path.append((x + step_size * torch.nn.functional.normalize(slope, dim=1)).clamp(0, 1).detach())
    return Ascent(torch.stack(path), torch.stack(scores))


def _expect_designs(designs: object) -> None:
    expect_in_box(designs, "designs")
    expect(designs.shape[1:] == (len(QUANTITIES),), "designs", f"the shape (N, {len(QUANTITIES)})", tuple(designs.shape))
