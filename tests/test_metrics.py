"""Metrics against closed forms, and against what must make them worse."""
from __future__ import annotations

import math

import pytest
import torch
from scipy.linalg import sqrtm
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from course_utils.data import load
from course_utils.data.ring import Ring
from course_utils.gan import metrics
from course_utils.gan.metrics.judge import judge_accuracy


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_sliced_wasserstein_of_a_shift_in_the_plane_is_its_length_times_two_over_pi():
    a = torch.randn(500, 2, generator=stream())
    distance = metrics.sliced_wasserstein(a, a + torch.tensor([3.0, 4.0]), projections=20_000, generator=stream(1))
    assert distance == pytest.approx(5 * 2 / math.pi, rel=0.02)  # the mean of |cos| over the circle


def test_sliced_wasserstein_on_a_line_is_the_gap_of_the_sorted_samples():
    a, b = torch.randn(300, 1, generator=stream()), torch.rand(300, 1, generator=stream(1))
    assert metrics.sliced_wasserstein(a, b) == pytest.approx((a.sort(0).values - b.sort(0).values).abs().mean().item(), rel=1e-5)


def test_sliced_wasserstein_ignores_order_and_repeats_with_its_generator():
    a, b = torch.randn(300, 3, generator=stream()), torch.randn(300, 3, generator=stream(1))
    assert metrics.sliced_wasserstein(a, a.flip(0), generator=stream()) == pytest.approx(0, abs=1e-6)
    assert metrics.sliced_wasserstein(a, b, generator=stream()) == metrics.sliced_wasserstein(a, b, generator=stream())


def test_sliced_wasserstein_refuses_what_it_cannot_compare():
    with pytest.raises(ValueError, match="b: expected the shape"):
        metrics.sliced_wasserstein(torch.zeros(5, 2), torch.zeros(4, 2))
    with pytest.raises(ValueError, match="finite"):
        metrics.sliced_wasserstein(torch.full((5, 2), torch.nan), torch.zeros(5, 2))


def test_every_mode_of_the_ring_is_covered_by_its_own_samples_and_few_by_a_blob():
    ring = Ring()
    samples = ring.sample(2000, generator=stream())
    counts = metrics.mode_counts(samples, ring.centres, ring.std)
    assert metrics.modes_covered(samples, ring.centres, ring.std) == 8
    assert counts.sum() > 0.97 * 2000 and counts.min() > 180  # 3 standard deviations hold 98.9 % in the plane
    assert metrics.modes_covered(torch.zeros(2000, 2), ring.centres, ring.std) == 0


def test_a_mode_needs_its_share_and_the_right_place():
    ring = Ring()
    three = ring.centres[torch.arange(900) % 3]
    assert metrics.modes_covered(three, ring.centres, ring.std) == 3
    few = torch.cat([three, ring.centres[5:6].expand(20, 2)])
    assert metrics.modes_covered(few, ring.centres, ring.std) == 3  # 20 of 920 is less than a quarter of an eighth
    assert metrics.modes_covered(three + torch.tensor([0.4, 0.0]), ring.centres, ring.std) == 0


def test_the_ring_has_its_centres_spread_and_shape():
    ring = Ring(modes=5, radius=2.0, std=0.2)
    points = ring.sample(3, 4000, generator=stream())
    assert points.shape == (3, 4000, 2)
    distance, nearest = torch.cdist(points.flatten(0, 1), ring.centres).min(dim=1)
    torch.testing.assert_close(ring.centres.norm(dim=1), torch.full((5,), 2.0))
    assert distance.square().mean() == pytest.approx(2 * 0.2**2, rel=0.05)
    assert torch.bincount(nearest).min() > 0.9 * 12_000 / 5
    for bad in (dict(modes=0), dict(std=0.0), dict(radius=-1.0)):
        with pytest.raises(ValueError, match=next(iter(bad))):
            Ring(**bad)


def test_frechet_distance_is_the_formula_with_scipys_matrix_root():
    a = torch.randn(400, 6, generator=stream(), dtype=torch.float64)
    b = torch.randn(500, 6, generator=stream(1), dtype=torch.float64) @ torch.randn(6, 6, generator=stream(2), dtype=torch.float64) + 1
    cov_a, cov_b = torch.cov(a.T), torch.cov(b.T)
    cross = torch.as_tensor(sqrtm((cov_a @ cov_b).numpy()).real)
    expected = (a.mean(0) - b.mean(0)).square().sum() + (cov_a + cov_b - 2 * cross).trace()
    assert metrics.frechet_distance(a, b) == pytest.approx(expected.item(), rel=1e-6)


def test_frechet_distance_is_0_for_itself_symmetric_and_the_squared_shift():
    a = torch.randn(300, 4, generator=stream())
    b = torch.randn(300, 4, generator=stream(1)) * 2
    assert metrics.frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    assert metrics.frechet_distance(a, b) == pytest.approx(metrics.frechet_distance(b, a))
    assert metrics.frechet_distance(a, a + torch.tensor([3.0, 0, 0, 4.0])) == pytest.approx(25, rel=1e-4)


def test_frechet_distance_works_with_fewer_samples_than_features_and_refuses_the_rest():
    a = torch.randn(5, 20, generator=stream())
    assert math.isfinite(metrics.frechet_distance(a, a + 1))
    for bad in (torch.zeros(1, 20), torch.zeros(5), torch.full((5, 20), torch.inf), torch.zeros(5, 3)):
        with pytest.raises(ValueError):
            metrics.frechet_distance(a, bad)


def test_nearest_finds_the_planted_neighbour():
    pool = torch.rand(50, 1, 4, 4, generator=stream())
    samples = pool[[7, 3, 3]] + torch.tensor([0.0, 0.01, -0.02])[:, None, None, None]
    distance, index = metrics.nearest(samples, pool, chunk=2)
    assert index.tolist() == [7, 3, 3]
    torch.testing.assert_close(distance, torch.tensor([0.0, 0.04, 0.08]), atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="pool"):
        metrics.nearest(samples, torch.zeros(0, 1, 4, 4))


def test_parzen_is_a_mixture_of_gaussians_on_the_samples():
    samples, points = torch.randn(200, 3, generator=stream()), torch.randn(40, 3, generator=stream(1))
    for bandwidth in (0.1, 0.5):
        mixture = MixtureSameFamily(Categorical(torch.ones(200)), Independent(Normal(samples.double(), bandwidth), 1))
        got = metrics.parzen_log_likelihood(points, samples, bandwidth, chunk=7)
        torch.testing.assert_close(got, mixture.log_prob(points.double()), rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="bandwidth: expected a finite number above 0, got 0"):
        metrics.parzen_log_likelihood(points, samples, 0)


def test_the_judge_knows_digits_and_sees_noise_and_missing_classes(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path))
    metrics.feature_net.cache_clear()
    train, test = load("digits"), load("digits", split="test")
    assert judge_accuracy("digits") >= 0.95
    far = {name: metrics.picture_distance("digits", pictures, train.images) for name, pictures in {
        "test": test.images, "half the classes": test.of(0, 1, 2, 3, 4).images,
        "noise": torch.rand(300, 1, 28, 28, generator=stream()), "blurred": torch.nn.functional.avg_pool2d(test.images, 7, 1, 3),
    }.items()}
    assert far["test"] < 0.1 * far["half the classes"] < far["noise"] and far["test"] < 0.1 * far["blurred"]

    kept = list((tmp_path / "judges").glob("*.pt"))
    seen = metrics.features("digits", test.images)
    assert len(kept) == 1 and seen.shape == (360, 64)
    metrics.feature_net.cache_clear()  # a new session finds the kept judge: the same features without training
    monkeypatch.setattr("course_utils.gan.metrics.judge.fit", None)
    assert torch.equal(metrics.features("digits", test.images), seen)
    metrics.feature_net.cache_clear()


def test_the_judge_does_not_depend_on_the_seed_nor_move_it(monkeypatch, tmp_path):
    found = []
    for seed in ("0", "3"):
        monkeypatch.setenv("COURSE_SEED", seed)
        monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path / seed))
        monkeypatch.setattr("course_utils.gan.metrics.judge._EPOCHS", 1)
        metrics.feature_net.cache_clear()
        torch.manual_seed(int(seed))
        before = torch.get_rng_state()
        with torch.no_grad():  # also where the caller wants no gradients
            found.append(metrics.feature_net("digits").state_dict())
        assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(found[0].values(), found[1].values()))
    metrics.feature_net.cache_clear()
