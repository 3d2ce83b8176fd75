"""The illusion and its ruler, on pictures of which everything is known; and five unlike nets."""
from __future__ import annotations

import math

import pytest
import torch

from course_utils import illusion
from course_utils.models import family

GAP = illusion.RADII[1] - illusion.RADII[0]


def line(pitch: float = 0.0, at: float = 0.5, size: int = 300) -> torch.Tensor:
    """A white line around the centre that climbs by ``pitch`` in a turn."""
    axis = (2 * torch.arange(size) + 1) / size - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    turn = torch.atan2(y, x).remainder(2 * math.pi) / (2 * math.pi)
    near = ((x.square() + y.square()).sqrt() - at - pitch * turn).abs() < 0.02
    return torch.where(near, 1.0, 0.5)[None, None]


@pytest.mark.parametrize("pitch", [0.0, 0.1, -0.1])
def test_the_ruler_reads_the_pitch_of_a_line(pitch):
    walk = illusion.follow(illusion.unroll(line(pitch)), 0.5, 0.15)
    wanted = 0.5 + pitch * torch.arange(len(walk)) / len(walk)
    inside = slice(len(walk) // 8, -len(walk) // 8)
    assert (walk - wanted)[inside].abs().max() < 0.01


def test_the_ruler_follows_one_line_of_two():
    both = torch.maximum(line(at=0.5), line(at=0.7))
    for at in (0.5, 0.7):
        assert (illusion.follow(illusion.unroll(both), at, 0.2) - at).abs().max() < 0.01


def test_the_rings_are_circles_whatever_their_squares_say():
    for tilt in (0, 15, -20):
        unrolled = illusion.unroll(illusion.draw(tilt))
        for radius in illusion.RADII:
            walk = illusion.follow(unrolled, radius, GAP)
            assert (walk - radius).abs().max() < 0.05 * GAP


@pytest.mark.parametrize("tilt", [0, 10, 15, -20])
def test_edges_lean_as_they_were_drawn(tilt):
    picture = illusion.draw(tilt)
    for ring, radius in enumerate(illusion.RADII):
        assert abs(illusion.local_tilt(picture, radius, GAP) - tilt * (-1) ** ring) < 1


def test_the_real_spiral_climbs_a_gap_in_a_turn():
    unrolled = illusion.unroll(illusion.draw(0, spiral=True))
    for radius in illusion.RADII:
        walk = illusion.follow(unrolled, radius - GAP / 2, GAP)
        assert 0.85 < (walk[-1] - walk[0]) / GAP < 1.05 and (walk.diff() > -0.002).all()


def test_squares_by_hand():
    """The ring at 0.6 of rings 0.14 apart: 34 squares, each 0.62 x 0.14 wide, an outline of 0.3 of half of that."""
    unrolled = illusion.unroll(illusion.draw(0, size=700), angles=2880, steps=1200) > 0.25
    radius, half = (torch.arange(1200) + 0.5) / 1200, 0.31 * GAP
    through = radius[unrolled[0] & ((radius - 0.6).abs() < GAP / 2)]  # the first square lies at angle 0
    assert through.min().item() == pytest.approx(0.6 - half, abs=0.002) and through.max().item() == pytest.approx(0.6 + half, abs=0.002)
    empty = (through - 0.6).abs().min().item()
    assert empty == pytest.approx(0.7 * half, abs=0.003)
    ring = unrolled[:, int((0.6 + 0.85 * half) * 1200)]
    assert (ring & ~ring.roll(1)).sum() == 34 == 2 * round(math.pi * 0.6 / (1.28 * 2 * half))


def test_the_picture_is_grey_around_white_and_black():
    picture = illusion.draw(size=200)
    assert picture.shape == (1, 1, 200, 200) and (picture.min(), picture.max()) == (0, 1)
    assert (picture[..., :5, :5] == illusion.GREY).all() and abs(picture.mean() - 0.5) < 0.01


def test_where_tensors_are_made_by_default_does_not_matter():
    def everything() -> list[torch.Tensor]:
        picture = illusion.draw(size=80)
        unrolled = illusion.unroll(picture)
        return [picture, unrolled, illusion.follow(unrolled, 0.6, GAP), torch.tensor(illusion.local_tilt(picture, 0.6, GAP), device="cpu")]

    wanted = everything()
    try:
        torch.set_default_device("meta")
        found = everything()
    finally:
        torch.set_default_device(None)
    assert all(torch.equal(a, b) for a, b in zip(found, wanted))


@pytest.mark.parametrize("call, argument", [
    (lambda: illusion.draw(45), "tilt"), (lambda: illusion.draw(size=10), "size"), (lambda: illusion.draw(radii=(0.5,)), "radii"), (lambda: illusion.draw(radii=(0.2, 0.3, 0.9)), "radii"),
    (lambda: illusion.unroll(torch.zeros(1, 3, 8, 8)), "picture"), (lambda: illusion.unroll(torch.zeros(1, 1, 8, 9)), "picture"), (lambda: illusion.unroll(illusion.draw(size=64), angles=2), "angles"),
])
def test_bad_input_is_refused_by_name(call, argument):
    with pytest.raises(ValueError, match=f"^{argument}: expected .+, got "):
        call()


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 8, 9), (1, 29, 31)])
def test_the_five_nets_take_every_shape_and_are_unlike(shape):
    nets = family(shape, 7)
    x = torch.rand(3, *shape)
    assert len(nets) == 5 and all(net(x).shape == (3, 7) for net in nets.values())
    assert len({str(net) for net in nets.values()}) == 5


@pytest.mark.parametrize("shape, classes, argument", [((1, 7, 28), 10, "H"), ((0, 28, 28), 10, "C"), ((1, 28, 28), 1, "classes")])
def test_nets_of_impossible_shapes_are_refused(shape, classes, argument):
    with pytest.raises(ValueError, match=f"^{argument}: expected .+, got "):
        family(shape, classes)
