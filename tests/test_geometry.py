"""Cross-sections, straight borders and orthogonal directions, against classifiers whose geometry is known."""
from __future__ import annotations

import math

import pytest
import torch

from torch import nn

from course_utils import geometry

GENERATOR = torch.Generator().manual_seed(0)


def seeded(value: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(value)


def halves(w: torch.Tensor, b: float = 0.0):
    """A classifier with two classes and one straight border, w x + b = 0; counts its pictures."""
    def model(x: torch.Tensor) -> torch.Tensor:
        model.largest = max(model.largest, len(x))
        score = x.flatten(1) @ w + b
        return torch.stack([-score, score], dim=1)

    model.largest = 0
    return model


# --- directions --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("perpendicular", [False, True])
def test_random_directions_keep_the_length_and_the_right_angle_where_it_is_asked_for(perpendicular):
    like = torch.randn(50, 1, 28, 28, generator=GENERATOR) * torch.linspace(0.1, 30, 50).view(-1, 1, 1, 1)
    found = geometry.random_directions(like, seeded(), perpendicular)
    assert found.shape == like.shape and found.dtype == like.dtype
    torch.testing.assert_close(found.flatten(1).norm(dim=1), like.flatten(1).norm(dim=1))
    cosine = torch.cosine_similarity(found.flatten(1), like.flatten(1)).abs()
    assert (cosine.max() < 1e-5) == perpendicular
    torch.testing.assert_close(found, geometry.random_directions(like, seeded(), perpendicular))


def test_a_direction_of_no_length_has_no_random_one_beside_it():
    with pytest.raises(ValueError, match="like: .*length 0.*1 of them"):
        geometry.random_directions(torch.tensor([[1.0, 0], [0, 0]]), seeded())


@pytest.mark.parametrize("inputs, count", [(784, 1), (784, 25), (784, 256), (6, 6), (3, 2)])
@pytest.mark.parametrize("seed", range(3))
def test_aligned_directions_are_orthonormal_with_the_largest_equal_products(inputs, count, seed):
    g = torch.randn(inputs, generator=seeded(seed), dtype=torch.float64) * 10**-6
    r = geometry.aligned(g, count)
    torch.testing.assert_close(r @ r.T, torch.eye(count, dtype=g.dtype))
    torch.testing.assert_close(r @ g, torch.full((count,), (g.norm() / math.sqrt(count)).item(), dtype=g.dtype))


def test_aligned_directions_where_the_gradient_is_where_the_axes_begin():
    g = torch.zeros(10, dtype=torch.float64)
    g[:4] = 3.0
    r = geometry.aligned(g, 4)
    torch.testing.assert_close(r, torch.eye(4, 10, dtype=torch.float64))


@pytest.mark.parametrize("inputs", [784, 300])
@pytest.mark.parametrize("count", [1, 4, 16, 64])
def test_aligned_signs_are_orthogonal_steps_of_max_norm_one_with_nearly_equal_products(inputs, count):
    g = torch.randn(inputs, generator=GENERATOR, dtype=torch.float64)
    g[5] = 0
    r = geometry.aligned_signs(g, count)
    used = inputs // count * count
    torch.testing.assert_close(r @ r.T, used * torch.eye(count, dtype=g.dtype))
    assert set(r.unique().tolist()) <= {-1.0, 0.0, 1.0} and ((r != 0).sum(1) == used).all()
    share = (r @ g) / (g.abs().sum() / math.sqrt(count))
    assert 0.75 < share.min() and share.max() < 1.25
    assert abs(share.mean() - 1) < 0.02


def test_two_directions_at_half_a_right_angle_to_the_gradient():
    r = geometry.aligned(torch.tensor([3.0, 4.0], dtype=torch.float64), 2)
    torch.testing.assert_close(r @ torch.tensor([3.0, 4.0], dtype=torch.float64), torch.full((2,), 5 / math.sqrt(2), dtype=torch.float64))
    torch.testing.assert_close(r @ r.T, torch.eye(2, dtype=torch.float64))


def test_aligned_signs_of_four_pixels_by_hand():
    """A row of the regular Hadamard matrix has one -1: it loses twice the pixel where that stands."""
    g = torch.tensor([4.0, -3.0, 2.0, -1.0])
    r = geometry.aligned_signs(g, 4)
    assert sorted((r @ g).tolist()) == [10 - 8, 10 - 6, 10 - 4, 10 - 2]
    assert ((r * g.sign()).sum(1) == 2).all()


def test_random_orthogonal_directions():
    r = geometry.random_orthogonal(30, 50, seeded())
    torch.testing.assert_close(r @ r.T, torch.eye(30, dtype=torch.float64))
    torch.testing.assert_close(r, geometry.random_orthogonal(30, 50, seeded()))
    assert not torch.allclose(r, geometry.random_orthogonal(30, 50, seeded(1)))


@pytest.mark.parametrize("call, message", [
    (lambda: geometry.aligned(torch.ones(4), 5), "count: expected at most 4"),
    (lambda: geometry.aligned(torch.ones(4), 0), "count"),
    (lambda: geometry.aligned(torch.zeros(4), 2), "gradient: .*not all 0"),
    (lambda: geometry.aligned(torch.tensor([1.0, float("nan")]), 1), "gradient"),
    (lambda: geometry.aligned(torch.ones(2, 2), 1), "gradient: .*shape"),
    (lambda: geometry.aligned_signs(torch.ones(64), 8), "count: .*power of 4"),
    (lambda: geometry.random_orthogonal(5, 4, seeded()), "count"),
    (lambda: geometry.cross_sections(halves(torch.ones(2)), torch.zeros(1, 2), torch.ones(1, 2), torch.ones(1, 2), side=4), "side: .*odd"),
    (lambda: geometry.cross_sections(halves(torch.ones(2)), torch.zeros(1, 2), torch.ones(2, 2), torch.ones(1, 2)), "right"),
    (lambda: geometry.straight_border(torch.zeros(1, 3, 4, dtype=torch.bool)), "inside"),
    (lambda: geometry.straight_border(torch.zeros(1, 3, 3)), "inside: .*bool"),
    (lambda: geometry.adversarial_directions([], torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64), torch.ones(1, 2), eps=1.0), "models"),
    (lambda: geometry.adversarial_directions([halves(torch.ones(2))], torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64), torch.ones(1, 3), eps=1.0), "gradient"),
    (lambda: geometry.adversarial_directions([halves(torch.ones(2))], torch.zeros(1, 2), torch.zeros(2, dtype=torch.int64), torch.ones(1, 2), eps=1.0), "y: "),
    (lambda: geometry.adversarial_directions([halves(torch.ones(2))], torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64), torch.ones(1, 2), eps=-1.0), "eps")])
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- maps --------------------------------------------------------------------------------------------------------

def test_right_is_right_up_is_up_and_the_middle_is_the_picture():
    x = torch.tensor([[0.2, 0.3]])
    right, up = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    tall = geometry.cross_sections(halves(torch.tensor([0.0, 1.0]), -1.0), x, right, up, side=5)[0]  # class 1 above 1: from 0.3 + 2 s
    assert tall.tolist() == [[1] * 5, [1] * 5, [0] * 5, [0] * 5, [0] * 5]
    wide = geometry.cross_sections(halves(torch.tensor([1.0, 0.0]), -0.5), x, right, up, side=5)[0]  # class 1 right of 0.5: from 0.2 + t
    assert wide.tolist() == [[0, 0, 0, 1, 1]] * 5


def test_maps_do_not_depend_on_the_batch_and_batches_stay_small():
    w = torch.randn(12, generator=GENERATOR)
    x, right, up = (torch.randn(4, 3, 2, 2, generator=GENERATOR) for _ in range(3))
    whole = geometry.cross_sections(halves(w), x, right, up, side=9)
    model = halves(w)
    torch.testing.assert_close(geometry.cross_sections(model, x, right, up, side=9, batch=7), whole)
    assert model.largest == 7 and whole.shape == (4, 9, 9) and len(whole.unique()) == 2


@pytest.mark.parametrize("angle", [0.0, 0.3, math.pi / 4, 1.2, math.pi / 2, 2.5])
@pytest.mark.parametrize("flip", [False, True])
def test_a_straight_border_is_found_at_any_angle(angle, flip):
    t = torch.linspace(-1, 1, 25)
    inside = (t[None, :] * math.cos(angle) + t[:, None] * math.sin(angle) > 0.13) ^ flip
    assert geometry.straight_border(inside[None])[0] >= 0.985


def test_what_is_not_straight_is_not_called_straight():
    t = torch.linspace(-1, 1, 25)
    disc = t[None, :] ** 2 + t[:, None] ** 2 < 0.5
    stripes = (torch.arange(25)[None, :] // 5 % 2 == 0).expand(25, 25)
    cross = (t[None, :] * t[:, None]) > 0
    shares = geometry.straight_border(torch.stack([disc, stripes, cross]))
    assert (shares < 0.8).all()
    constant = torch.stack([torch.maximum(m.double().mean(), 1 - m.double().mean()) for m in (disc, stripes, cross)])
    assert (shares >= constant).all()


def test_one_answer_everywhere_needs_no_line():
    assert geometry.straight_border(torch.stack([torch.ones(5, 5), torch.zeros(5, 5)]).bool()).tolist() == [1.0, 1.0]


def test_cells_of_one_height_are_not_parted():
    """Half of a column differs: no line does that without crossing other columns, so one half is lost."""
    inside = torch.zeros(1, 4, 4, dtype=torch.bool)
    inside[0, :, 0] = True
    inside[0, :2, 1] = True
    assert geometry.straight_border(inside, angles=2)[0] == 14 / 16


# --- how many directions -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("wanted", [1, 4, 16, 64])
def test_the_count_is_the_one_that_theory_gives_for_a_plane(wanted):
    """At distance d of a plane, k directions of length eps with the product eps / sqrt(k) cross it while eps / sqrt(k) > d."""
    w = torch.randn(100, generator=GENERATOR, dtype=torch.float64)
    w = w / w.norm()
    x = torch.randn(3, 100, generator=GENERATOR, dtype=torch.float64)
    distance = 0.99 / math.sqrt(wanted)  # so that a step of length 1 gets across for k = wanted and not for 4 wanted
    x = x - (x @ w - (-distance))[:, None] * w
    y, gradient = torch.zeros(3, dtype=torch.int64), w.expand(3, -1)
    found = geometry.adversarial_directions([halves(w)], x, y, gradient, eps=1.0, counts=(1, 4, 16, 64))
    assert found.tolist() == [[wanted] * 3]


def test_other_models_are_asked_about_the_same_directions():
    w = torch.eye(16, dtype=torch.float64)[0]
    x, y = -0.2 * w[None], torch.zeros(1, dtype=torch.int64)
    always, never = (lambda v: torch.tensor([[0.0, 1.0]]).expand(len(v), -1)), (lambda v: torch.tensor([[1.0, 0.0]]).expand(len(v), -1))
    found = geometry.adversarial_directions([halves(w), always, never, halves(w)], x, y, w[None], eps=1.0, counts=(1, 2, 4, 8, 16))
    assert found.flatten().tolist() == [16, 16, 0, 16]


def test_the_direction_of_the_step_matters():
    w = torch.eye(16, dtype=torch.float64)[0]
    x, y = -0.2 * w[None], torch.zeros(1, dtype=torch.int64)
    assert geometry.adversarial_directions([halves(w)], x, y, -w[None], eps=1.0, counts=(1, 4)).item() < 4


def test_other_models_are_asked_only_about_directions_that_fool_the_first_and_the_best_count_is_kept():
    w = torch.eye(16, dtype=torch.float64)[0]
    x, y = -0.2 * w[None], torch.zeros(1, dtype=torch.int64)
    axes = lambda gradient, count: torch.eye(16, dtype=torch.float64)[:count]  # noqa: E731  only the first axis leads across
    always = lambda v: torch.tensor([[0.0, 1.0]]).expand(len(v), -1)  # noqa: E731
    found = geometry.adversarial_directions([halves(w), always], x, y, w[None], eps=1.0, counts=(8,), directions=axes)
    assert found.flatten().tolist() == [1, 1]
    fewer = geometry.adversarial_directions([halves(w)], x, y, w[None], eps=0.3, counts=(1, 2, 16))  # 0.3 / sqrt(16) is too short
    assert fewer.item() == 2


# --- models as they come -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("call", [lambda net: net, lambda net: lambda x: net(x)], ids=["module", "function"])
def test_a_net_in_train_mode_is_asked_in_eval_mode_and_given_back_as_it_was(call):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Dropout(0.5), nn.Linear(20, 3))
    with torch.no_grad():
        net(torch.randn(40, 6))  # statistics of their own
    x, y = torch.randn(5, 6, generator=seeded()), torch.zeros(5, dtype=torch.int64)
    asks = [
        lambda: geometry.answers(call(net), x),
        lambda: geometry.cross_sections(call(net), x, x.roll(1, 1), x.roll(2, 1), side=5),
        lambda: geometry.adversarial_directions([call(net), call(net)], x, y, x, eps=1.0, counts=(1, 4)),
    ]
    net.eval()
    wanted = [ask() for ask in asks]
    net.train()
    net[4].eval()
    before, modes, stream = {k: v.clone() for k, v in net.state_dict().items()}, [m.training for m in net.modules()], torch.get_rng_state()
    assert all(torch.equal(ask(), w) for ask, w in zip(asks, wanted))
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert [m.training for m in net.modules()] == modes and torch.equal(stream, torch.get_rng_state())


def test_borders_are_looked_for_in_full_precision():
    def model(x: torch.Tensor) -> torch.Tensor:
        assert not torch.backends.cudnn.allow_tf32
        return x

    assert torch.backends.cudnn.allow_tf32
    geometry.answers(model, torch.zeros(2, 3))
    assert torch.backends.cudnn.allow_tf32


def test_where_tensors_are_made_by_default_does_not_matter():
    like, seen = torch.randn(3, 64, generator=seeded()), torch.rand(2, 5, 5, generator=seeded()) > 0.5
    y = torch.zeros(3, dtype=torch.int64)

    def everything() -> list[torch.Tensor]:
        model = halves(like[0])
        return [
            geometry.random_directions(like, seeded(), perpendicular=True), geometry.random_orthogonal(3, 8, seeded()), geometry.straight_border(seen), geometry.aligned(like[0], 4),
            geometry.aligned_signs(like[0], 4), geometry.cross_sections(model, like, like.roll(1, 1), like.roll(2, 1), side=5),
            geometry.adversarial_directions([model, model], like, y, like, eps=1.0, counts=(1, 4)),
        ]

    wanted = everything()
    try:
        torch.set_default_device("meta")  # as "cuda" would be, on a machine without one
        found = everything()
    finally:
        torch.set_default_device(None)
    assert all(torch.equal(a, b) for a, b in zip(found, wanted))
