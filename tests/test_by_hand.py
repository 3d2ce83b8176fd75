"""Figures of metrics and data worked out by hand, on cases small enough to do so."""
from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from course_utils.data.emails import MARKET, OFFICE, SMALL, emails
from course_utils.gan import metrics


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values)[:, None]


def test_frechet_of_two_gaussians_on_a_line():
    """Means 0 and 4, variances 1 and 9: (4 - 0)² + (3 - 1)²."""
    assert metrics.frechet_distance(column(-1.0, 0, 1), column(1.0, 4, 7)) == pytest.approx(20)


def test_frechet_of_the_same_place_and_another_width():
    """Variances 1 and 16, one mean: (4 - 1)²."""
    assert metrics.frechet_distance(column(-1.0, 0, 1), column(-4.0, 0, 4)) == pytest.approx(9)


def test_parzen_of_one_and_two_samples():
    """The log density of N(0, 2²) at 2 is -1/2 - log(2 sqrt(2π)); two samples as far away on both sides give the same."""
    known = -0.5 - math.log(2 * math.sqrt(2 * math.pi))
    assert metrics.parzen_log_likelihood(column(2.0), column(0.0), 2.0).item() == pytest.approx(known)
    assert metrics.parzen_log_likelihood(column(2.0), column(0.0, 4), 2.0).item() == pytest.approx(known)


def test_parzen_in_the_plane():
    """(3, 4) is 5 from the only sample; with the width 5: -1/2 - 2 log(5 sqrt(2π))."""
    found = metrics.parzen_log_likelihood(torch.tensor([[3.0, 4]]), torch.zeros(1, 2), 5.0)
    assert found.item() == pytest.approx(-0.5 - 2 * math.log(5 * math.sqrt(2 * math.pi)))


def test_sliced_wasserstein_of_two_pairs_on_a_line():
    """{0, 2} and {1, 5}: gaps of 1 and 3."""
    assert metrics.sliced_wasserstein(column(2.0, 0), column(1.0, 5)) == pytest.approx(2)


def test_a_sample_counts_up_to_three_standard_deviations():
    centres = torch.tensor([[0.0, 0], [10, 0]])
    samples = torch.tensor([[0.0, 0.59], [0.59, 0], [0, 0.61], [10.59, 0], [5, 0]])
    assert metrics.mode_counts(samples, centres, 0.2).tolist() == [2, 1]


def test_a_mode_is_covered_by_a_quarter_of_its_equal_part():
    """80 samples, two modes: 40 each, and 10 are a quarter of that."""
    centres = torch.tensor([[0.0, 0], [10, 0]])
    for there, covered in ((10, 2), (9, 1)):
        which = (torch.arange(80) < there).long()
        assert metrics.modes_covered(centres[which], centres, 0.1) == covered


def test_the_log_odds_of_a_mail_are_those_of_its_words():
    """Weights of a word: 12 in SMALL; 8 in its own kind of mail, 2 in the other."""
    mails, small, office, market = emails("test"), len(SMALL), len(OFFICE), len(MARKET)
    wanted, spam = 12 * small + 8 * office + 2 * market, 12 * small + 2 * office + 8 * market
    counts = torch.zeros(3, len(mails.words))
    counts[0, 0], counts[1, small], counts[2, small + office] = 1, 1, 2  # a small word; one of the office; twice one of the market
    found = replace(mails, counts=counts).log_odds.tolist()
    assert found == pytest.approx([math.log(wanted / spam), math.log(2 / spam * wanted / 8), 2 * math.log(8 / spam * wanted / 2)])
