"""Cars and their simulator: physics against closed forms, ties that are kept and broken, an ascent that climbs."""
from __future__ import annotations

import math

import pytest
import torch

from course_utils import design

FREE = {"engine volume": [2.0], "engine speed": [6000.0], "tyre radius": [0.32], "frontal area": [2.1], "drag coefficient": [0.3]}


def one() -> torch.Tensor:
    return design.sound({name: torch.tensor(value) for name, value in FREE.items()})


def changed(name: str, factor: float) -> torch.Tensor:
    """The sound car with one quantity multiplied."""
    q = design.to_quantities(one())
    return design.to_designs(q | {name: q[name] * factor})


def test_quantities_and_designs_are_two_ways_to_say_the_same():
    designs = torch.rand(50, 12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(design.to_designs(design.to_quantities(designs)), designs, atol=1e-5, rtol=0)
    ends = design.to_quantities(torch.tensor([[0.0] * 12, [1.0] * 12]))
    for quantity in design.QUANTITIES:
        assert ends[quantity.name].tolist() == pytest.approx([quantity.low, quantity.high])
    halfway = design.to_quantities(torch.full((1, 12), 0.5))["power"].item()
    assert halfway == pytest.approx(math.sqrt(30 * 700))


def test_speed_without_rolling_is_the_cube_root_and_without_air_a_quotient():
    power = torch.tensor([1e4, 1e5, 5e5], dtype=torch.float64)
    torch.testing.assert_close(design.flat_out(power, torch.tensor(0.7)), (2 * power / (1.2 * 0.7)) ** (1 / 3))
    weight = torch.tensor(15000.0, dtype=torch.float64)
    torch.testing.assert_close(design.flat_out(power[:1], torch.tensor(1e-9, dtype=torch.float64), weight), power[:1] / (0.012 * weight), rtol=1e-4, atol=0)


def test_at_top_speed_drag_and_rolling_take_all_the_power():
    power, area, weight = torch.tensor([8e4, 3e5], dtype=torch.float64), torch.tensor([0.6, 0.9], dtype=torch.float64), torch.tensor([1e4, 2e4], dtype=torch.float64)
    v = design.flat_out(power, area, weight)
    torch.testing.assert_close(0.5 * 1.2 * area * v**3 + 0.012 * weight * v, power)


def test_a_sound_car_keeps_its_ties_and_they_are_the_textbook_s():
    q = {name: value.item() for name, value in design.to_quantities(one()).items()}
    assert design.mismatch(one()).abs().max() < 1e-4
    assert q["power"] == pytest.approx(100, rel=1e-4)  # 1 MPa x 2 l x 50 working strokes a second and litre
    v = (2 * 0.9 * 1000 * q["power"] / (1.2 * 0.3 * 2.1)) ** (1 / 3)
    assert q["gear ratio"] == pytest.approx(100 * 2 * math.pi * 0.32 / v, rel=1e-4)
    torque = 1e5 / (2 * math.pi * 100) * q["gear ratio"]
    assert q["shaft"] == pytest.approx(5 * torque ** (1 / 3), rel=1e-4)
    assert 0.5 * 1.2 * q["downforce area"] * v**2 == pytest.approx(0.4 * 9.81 * q["mass"], rel=1e-3)


def test_a_sound_car_worked_out_by_hand():
    """2 l at 6000 turns a minute, tyres of 0.32 m, 2.1 m² with a coefficient of 0.3."""
    q = {name: value.item() for name, value in design.to_quantities(one()).items()}
    wanted = {"power": 100, "radiator": 0.25, "mass": 1098.52, "tyre width": 0.153792, "gear ratio": 3.2440, "shaft": 40.112, "downforce area": 1.8702}
    # mass: (420 x 2.1 + 70 x 2 + 60 x 0.25) / (1 - 400 x 0.00014); v: the cube root of 2 x 0.9 x 1e5 / (1.2 x 0.3 x 2.1), 61.98 m/s
    assert {name: q[name] for name in wanted} == pytest.approx(wanted, rel=3e-4)


def test_the_scatter_is_the_spread_of_each_tied_quantity():
    off = design.mismatch(design.cars(4000, generator=torch.Generator().manual_seed(5), scatter=0.02))
    spread = dict(zip(design.TIED, off.std(0).tolist()))
    assert spread["power"] == pytest.approx(0.02, rel=0.05)  # asked of the free ones alone
    assert spread["radiator"] == pytest.approx(0.02 * math.sqrt(2), rel=0.05)  # its own and that of the power
    assert off.mean(0).abs().max() < 0.002


def test_a_sound_car_is_as_fast_as_its_power_and_drag_allow():
    q = {name: value.double() for name, value in design.to_quantities(one()).items()}
    expected = 3.6 * design.flat_out(0.9 * 1000 * q["power"], q["drag coefficient"] * q["frontal area"], 9.81 * q["mass"])
    torch.testing.assert_close(design.simulate(one()).double(), expected, rtol=1e-4, atol=0)
    assert 200 < design.simulate(one()).item() < 230


@pytest.mark.parametrize("name", ["radiator", "shaft"])  # those that no other part asks after, or hardly
@pytest.mark.parametrize("factor", [0.7, 1.4])
def test_one_part_that_does_not_fit_costs_what_the_formula_says(name, factor):
    power = design.to_quantities(one())["power"].item()
    v, v_sound = (design.simulate(car).item() / 3.6 for car in (changed(name, factor), one()))
    q = {key: value.item() for key, value in design.to_quantities(changed(name, factor)).items()}
    needed = 0.6 * q["drag coefficient"] * q["frontal area"] * v**3 + 0.012 * 9.81 * q["mass"] * v
    left = needed / (900 * power)
    off = design.mismatch(changed(name, factor))[0, design.TIED.index(name)].item()
    assert off == pytest.approx(math.log(factor), abs=1e-4)
    assert left == pytest.approx(math.exp(-((math.log(factor) / 0.25) ** 2) / 2), rel=0.02)
    assert v < v_sound


def test_more_power_alone_makes_a_car_slower_and_more_engine_with_all_that_belongs_to_it_faster():
    assert design.simulate(changed("power", 1.5)).item() < 0.8 * design.simulate(one()).item()
    larger = design.sound({name: torch.tensor(value) * (1.5 if name == "engine volume" else 1) for name, value in FREE.items()})
    assert design.simulate(larger).item() > 1.1 * design.simulate(one()).item()


def test_less_drag_is_faster_where_everything_else_follows():
    slippery = design.sound({name: torch.tensor(value) * (0.8 if name == "drag coefficient" else 1) for name, value in FREE.items()})
    assert design.simulate(slippery).item() > 1.05 * design.simulate(one()).item()


def test_cars_lie_near_a_sheet_of_five_dimensions():
    cars = design.cars(2000, generator=torch.Generator().manual_seed(1))
    assert cars.dtype == torch.float32 and cars.shape == (2000, 12) and 0 < cars.min() and cars.max() < 1
    sizes = torch.linalg.svdvals((cars - cars.mean(0)).double()) / 2000**0.5
    assert sizes[4] > 5 * sizes[5]
    assert design.mismatch(cars).std(0).max() < 0.06
    everywhere = torch.rand(2000, 12, generator=torch.Generator().manual_seed(2))
    assert design.simulate(everywhere).median() < 0.1 * design.simulate(cars).median()


def test_cars_repeat_and_do_not_touch_the_global_stream():
    before = torch.get_rng_state()
    first, again = (design.cars(10, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, again) and torch.equal(before, torch.get_rng_state())
    assert not torch.equal(first, design.cars(10, generator=torch.Generator().manual_seed(4)))
    assert torch.equal(design.cars(10), design.cars(10))


def test_ascent_goes_straight_up_a_plane_and_stops_at_the_walls():
    slope = torch.zeros(12)
    slope[3], slope[7] = 3.0, -4.0
    walk = design.ascend(lambda d: d @ slope, torch.full((2, 12), 0.5), steps=5, step_size=0.1)
    torch.testing.assert_close(walk.designs[0], 0.5 + 0.5 * slope / 5)
    torch.testing.assert_close(walk.scores[:, 0], torch.arange(6) * 0.5 + 0.5 * -1.0)
    far = design.ascend(lambda d: d @ slope, torch.full((1, 12), 0.5), steps=30, step_size=0.1)
    assert far.designs[0, 3] == 1 and far.designs[0, 7] == 0 and far.path.shape == (31, 1, 12)


def test_ascent_leaves_the_net_and_works_without_gradients():
    net = torch.nn.Sequential(torch.nn.Linear(12, 1), torch.nn.Flatten(0))
    with torch.no_grad():
        walk = design.ascend(net, torch.rand(3, 12), steps=3)
    assert all(p.grad is None for p in net.parameters()) and not walk.path.requires_grad and not walk.scores.requires_grad
    assert (walk.scores.diff(dim=0) > 0).all()


@pytest.mark.parametrize("bad, name", [
    (lambda: design.simulate(torch.rand(3, 11)), "designs"), (lambda: design.simulate(torch.rand(3, 12) + 1), "designs"),
    (lambda: design.simulate(torch.full((1, 12), math.nan)), "designs"), (lambda: design.cars(0), "count"), (lambda: design.cars(3, scatter=0), "scatter"),
    (lambda: design.ascend(lambda d: d, torch.rand(2, 12)), "score"), (lambda: design.ascend(lambda d: d.sum(1), torch.rand(2, 12), steps=0), "steps"),
    (lambda: design.ascend(lambda d: d.sum(1), torch.rand(2, 12), step_size=-1), "step_size"), (lambda: design.sound({}), "free"), (lambda: design.to_designs({}), "quantities")])
def test_bad_input_is_named(bad, name):
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        bad()


@pytest.mark.parametrize("call", [lambda net: net, lambda net: lambda d: net(d)], ids=["module", "function"])
def test_a_score_in_train_mode_is_asked_in_eval_mode_and_given_back_as_it_was(call):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(12, 20), torch.nn.BatchNorm1d(20), torch.nn.Dropout(0.5), torch.nn.Tanh(), torch.nn.Linear(20, 1), torch.nn.Flatten(0))
    start = torch.rand(4, 12)
    wanted = design.ascend(call(net.eval()), start, steps=3).path
    before = {name: value.clone() for name, value in net.train().state_dict().items()}
    assert torch.equal(design.ascend(call(net), start, steps=3).path, wanted)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items()) and all(part.training for part in net.modules())


def test_where_tensors_are_made_by_default_does_not_matter():
    start = torch.rand(3, 12)
    everything = lambda: [  # noqa: E731
        design.cars(5), design.cars(5, generator=torch.Generator("cpu").manual_seed(1)), design.simulate(start), design.mismatch(start), design.sound(FREE),
        design.to_designs(design.to_quantities(start)), design.ascend(lambda d: d.sum(1), start, steps=2).path,
    ]
    wanted = everything()
    try:
        torch.set_default_device("meta")
        found = everything()
    finally:
        torch.set_default_device(None)
    assert all(torch.equal(a, b) for a, b in zip(found, wanted))
