"""The constants of each method against its paper's, on cases small enough to be worked out by hand: the numbers are written out."""
from __future__ import annotations

import io
import math

import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.io import encode_jpeg

from course_utils.attacks import (
    BALLS, Camera, SmoothNeighbours, across_hyperplane, along_the_label, expectation, fgsm, iterated, lbfgs, least_likely, pgd, physical, saliency,
)
from course_utils.attacks.physical import _blurred, _colours, _table
from course_utils.defenses import Decoded, codewords, double_backprop, small_weights
from course_utils.training import Evaluation

DOUBLE = torch.float64
MIDDLE, ONE, ZERO = torch.full((1, 2), 0.5, dtype=DOUBLE), torch.tensor([1]), torch.tensor([0])


def close(found: torch.Tensor, *wanted: object, within: float = 1e-6) -> None:
    """AssertionError unless ``found`` is ``wanted``."""
    torch.testing.assert_close(found.detach(), torch.tensor(wanted, dtype=found.dtype), rtol=0, atol=within)


def linear(*weights: list[float], bias: list[float] | None = None) -> nn.Linear:
    model = nn.Linear(len(weights[0]), len(weights)).to(DOUBLE)
    with torch.no_grad():
        model.weight.copy_(torch.tensor(weights))
        model.bias.copy_(torch.tensor(bias or [0.0] * len(weights)))
    return model


# Away from class 1 leads (-3, 4), of length 5: its sign is (-1, 1), its direction (-0.6, 0.8).
MODEL = linear([0.0, 0.0], [3.0, -4.0])


class Seen:
    """``MODEL`` that notes the first value of all it is asked about."""

    def __init__(self) -> None:
        self.values: list[torch.Tensor] = []

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        self.values.append(x[:, 0].detach().clone())
        return MODEL(x)


# ---- steps and balls ---------------------------------------------------------------------------------


def test_fgsm_steps_by_eps_in_either_norm():
    for y, targeted in ((ONE, False), (ZERO, True)):
        close(fgsm(MODEL, MIDDLE, y, eps=0.1, targeted=targeted), [0.4, 0.6])
        close(fgsm(MODEL, MIDDLE, y, eps=0.1, norm="l2", targeted=targeted), [0.44, 0.58])


@pytest.mark.parametrize("attack, norm, wanted", [
    (iterated, "linf", [0.5, 0.475, 0.45, 0.425, 0.4]),  # 1.25 * 0.1 / 5 = 0.025
    (iterated, "l2", [0.5, 0.485, 0.47, 0.455, 0.44]),
    (pgd, "linf", [0.5, 0.45, 0.4, 0.4, 0.4]),  # 2.5 * 0.1 / 5 = 0.05, and no further than 0.1
    (pgd, "l2", [0.5, 0.47, 0.44, 0.44, 0.44]),
])
def test_steps_that_nobody_chose_are_a_quarter_more_than_eps_together_or_two_and_a_half_times(attack, norm, wanted):
    seen = Seen()
    found = attack(seen, MIDDLE, ONE, eps=0.1, norm=norm, steps=5, **({"random_start": False} if attack is pgd else {}))
    close(torch.cat(seen.values), *wanted)
    close(found[:, 0], wanted[-1])


def test_least_likely_goes_to_the_last_of_the_classes():
    model = linear([0.0, 0.0], [3.0, -4.0], [-8.0, 6.0])  # 0, -0.5 and -1 in the middle
    close(least_likely(model, MIDDLE, eps=0.1, steps=1), [0.4, 0.6])


@pytest.mark.parametrize("norm, mean, square", [("linf", 1 / 2, 1 / 3), ("l2", 2 / 3, 1 / 2)])
def test_pgd_starts_evenly_in_the_whole_ball(norm, mean, square):
    seen = []
    model = lambda x: (seen.append(x.detach()), MODEL(x))[1]  # noqa: E731
    pgd(model, MIDDLE.expand(8000, 2), ONE.expand(8000), eps=0.1, norm=norm, steps=1)
    change = (torch.cat(seen) - 0.5) / 0.1
    size = change.abs().flatten() if norm == "linf" else change.norm(dim=1)
    assert 0.999 < size.max() <= 1 + 1e-9 and size.min() < 0.03
    assert size.mean().item() == pytest.approx(mean, abs=0.01) and size.square().mean().item() == pytest.approx(square, abs=0.01)


def test_balls_project_to_the_nearest_point():
    change = torch.tensor([[0.3, 0.4], [0.03, -0.04]], dtype=DOUBLE)
    close(BALLS["l2"].project_(change.clone(), 0.25), [0.15, 0.2], [0.03, -0.04])
    close(BALLS["linf"].project_(change.clone(), 0.25), [0.25, 0.25], [0.03, -0.04])
    close(BALLS["l2"].size(change), 0.5, 0.05)
    close(BALLS["linf"].size(change), 0.4, 0.04)
    assert BALLS["l2"].largest((1, 2, 2)) == 2 and BALLS["linf"].largest((1, 2, 2)) == 1


# ---- the nearest border, the features that tell most ---------------------------------------------------


def test_lbfgs_finds_the_foot_of_the_perpendicular():
    model = linear([0.0, 0.0], [30.0, -40.0])  # -5 in the middle: 5 / 50 = 0.1 from the border, along (0.6, -0.8)
    found = lbfgs(model, MIDDLE, ONE)
    close(found.distance, 0.1, within=3e-4)
    close(found.x_adv, [0.56, 0.42], within=3e-4)


def test_saliency_weighs_a_slope_by_what_is_missing_of_the_feature():
    model = linear([0.0] * 4, [-3.0, -5.0, -2.0, 9.0], bias=[0.0, 100.0])
    x = torch.tensor([[0.0, 0.5, 0.0, 0.0]], dtype=DOUBLE)  # 3, 5 * 0.5 = 2.5, 2, and one that would not help
    wanted = [[1, 0.5, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 0]]
    for features, row in enumerate(wanted, start=1):
        close(saliency(model, x, ONE, features=features), row)


def test_augmentation_steps_by_lambda_along_the_labels_logit():
    model, x = nn.Sequential(nn.Flatten(), linear([0.0, 0.0], [3.0, -4.0])), MIDDLE.view(1, 1, 1, 2)
    close(along_the_label(model, x, ONE, 0.1).flatten(), 0.6, 0.4)
    close(along_the_label(model, x, ONE, -0.1).flatten(), 0.4, 0.6)
    close(along_the_label(model, x, ONE).flatten(), 0.6, 0.4)  # the paper's lambda


def test_a_linear_machine_is_left_along_its_weights():
    close(across_hyperplane(torch.tensor([[3.0, -4.0], [0.0, 1.0]]), MIDDLE, ZERO, eps=0.2), [0.38, 0.66])


def test_neighbours_vote_by_the_exponential_of_their_squared_distance():
    known = torch.tensor([[0.1, 0.5], [0.5, 0.9], [0.5, 0.3]], dtype=DOUBLE)  # 0.16, 0.16 and 0.04 from the middle
    votes = SmoothNeighbours(known, torch.tensor([0, 0, 1]), 2, temperature=0.08)(MIDDLE)
    close(votes, [-2 + math.log(2), -0.5])


# ---- means and cameras -------------------------------------------------------------------------------


@pytest.mark.parametrize("mean, wanted", [
    ("probabilities", [math.log(0.7), math.log(0.3)]),  # of 0.9 and 0.5; of 0.1 and 0.5
    ("log probabilities", [math.log(0.45) / 2, math.log(0.05) / 2]),
    ("logits", [math.log(9) / 2, 0.0]),
])
def test_an_expectation_is_the_mean_that_it_says(mean, wanted):
    odds = torch.tensor([[math.log(9), 0.0], [0.0, 0.0]], dtype=DOUBLE)
    close(expectation(lambda x: x, lambda x, generator: odds, draws=2, mean=mean)(MIDDLE), wanted)


def test_contrast_turns_about_the_middle_grey_and_light_and_shade_are_added():
    camera = Camera(contrast=0.4, brightness=0.1, shade=0.2)
    x = torch.tensor([0.3, 0.5, 0.7], dtype=DOUBLE).view(1, 1, 1, 3)
    lit = camera._lit(x, torch.tensor([[1.0, 0.5, -1.0]], dtype=DOUBLE))
    close(lit.flatten(), 0.37, 0.55, 0.73)  # 0.5 + 1.4 * (x - 0.5) + 0.05, and 0.1, 0, -0.1 from left to right


def test_a_blur_of_one_pixel_is_a_normal_distribution_of_that_width():
    dot = torch.zeros(1, 1, 9, 9, dtype=DOUBLE)
    dot[..., 4, 4] = 1
    seen = _blurred(dot, torch.ones(1, dtype=DOUBLE), 1.0)[0, 0]
    close(seen[4, 4:9], 0.1592411, 0.0965846, 0.0215511, 0.0017690, 0.0)  # 0.3990503^2 times exp(0, -1/2, -2, -9/2), cut at 3


def test_what_a_camera_draws_goes_to_its_settings_and_no_further(monkeypatch):
    moved, widths = [], []
    monkeypatch.setattr(physical, "_seen_from", lambda x, by: (moved.append(by), x)[1])
    monkeypatch.setattr(physical, "_blurred", lambda x, sigma, widest: (widths.append((sigma, widest)), x)[1])
    x = torch.full((4000, 1, 4, 4), 0.5, dtype=DOUBLE)
    seen = Camera(perspective=0.1, brightness=0, contrast=0, shade=0, blur=2.0, noise=0.1, quality=None)(x, torch.Generator().manual_seed(0))
    by, (sigma, widest) = moved[0], widths[0]
    assert 0.0999 < by.abs().max() <= 0.1 and by.abs().mean().item() == pytest.approx(0.05, abs=1e-3)
    assert widest == sigma.max().item() and 1.99 < widest <= 2 and sigma.min() < 0.01 and sigma.mean().item() == pytest.approx(1, abs=0.03)
    assert (seen - x).square().mean().sqrt().item() == pytest.approx(0.1 / math.sqrt(3), abs=1e-3)  # widths even from 0 to 0.1


@pytest.mark.parametrize("quality, first, last", [  # of the table's 16 11 10 16 24 40 51 61 and 99
    (50, [16, 11, 10, 16, 24, 40, 51, 61], 99), (25, [32, 22, 20, 32, 48, 80, 102, 122], 198), (49, [16, 11, 10, 16, 24, 41, 52, 62], 101),
    (75, [8, 6, 5, 8, 12, 20, 26, 31], 50), (90, [3, 2, 2, 3, 5, 8, 10, 12], 20), (100, [1] * 8, 1), (1, [255] * 8, 255)])
def test_jpegs_tables_are_the_standards_scaled_as_libjpeg_does(quality, first, last):
    table = _table(physical._LUMA, quality, DOUBLE, torch.device("cpu"))
    assert table[0].tolist() == first and table[7, 7].item() == last


@pytest.mark.parametrize("quality", [1, 10, 37, 49, 50, 75, 95, 100])
def test_jpegs_tables_are_those_in_a_real_file(quality):
    noise = torch.randint(256, (3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    real = Image.open(io.BytesIO(encode_jpeg(noise, quality=quality).numpy().tobytes())).quantization
    for standard, number in ((physical._LUMA, 0), (physical._CHROMA, 1)):
        assert _table(standard, quality, DOUBLE, torch.device("cpu")).flatten().tolist() == list(real[number])


def test_jpegs_colours_are_those_of_the_standard():
    forth, back = _colours(DOUBLE, torch.device("cpu"))
    close(forth @ torch.eye(3, dtype=DOUBLE), [0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312])
    close(back, [1, 0, 1.402], [1, -0.344136, -0.714136], [1, 1.772, 0], within=1e-5)


# ---- figures and defences ----------------------------------------------------------------------------


@pytest.mark.parametrize("correct, total, low, high", [(8, 10, 0.490162, 0.943318), (0, 10, 0.0, 0.277533), (10, 10, 0.722467, 1.0), (50, 100, 0.403832, 0.596168)])
def test_wilsons_interval(correct, total, low, high):
    found = Evaluation(correct, total)
    assert found.low == pytest.approx(low, abs=2e-6) and found.high == pytest.approx(high, abs=2e-6)


def test_codes_are_decoded_by_the_likelihood_of_their_bits_or_by_votes():
    words = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    scores = torch.tensor([[2.0, -1.0]])
    close(Decoded(lambda x: x, words)(scores), [-1.440190, -0.440190])  # log sigmoid(2) = -0.126928, (-1) = -1.313262, (1) = -0.313262
    close(Decoded(lambda x: x, words, "votes")(scores), [0, 2])
    assert [int((a != b).sum()) for a in codewords(3, 8) for b in codewords(3, 8)] == [0, 4, 4, 4, 0, 4, 4, 4, 0]


def test_penalties_of_a_linear_net():
    model = linear([0.0, 0.0], [3.0, -4.0], bias=[0.0, 0.5])  # both classes alike in the middle: log 2, and a slope of half of 5
    close(double_backprop(model, MIDDLE, ONE, weight=0.1)[None], math.log(2) + 0.1 * 6.25)
    close(small_weights(model, MIDDLE, ONE, weight=0.1)[None], math.log(2) + 0.05 * 25)
