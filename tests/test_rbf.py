"""RBF units and nets: closed forms, what begins where, and the cost that lets every class say no. And papers' figures with their verdicts."""
from __future__ import annotations

import math

import pytest
import torch

from course_utils.claims import Quoted, print_verdicts
from course_utils.models import RBF, RBFClassifier, deep_rbf, own_loss, own_losses
from course_utils.plots.borders import Border

GENERATOR = torch.Generator().manual_seed(0)


def test_a_unit_is_the_bell_around_its_centre():
    torch.manual_seed(0)
    layer = RBF(5, 7).double()
    layer.log_beta.data.uniform_(-2, 2)
    x = torch.rand(11, 5, generator=GENERATOR, dtype=torch.float64)
    squared = (x[:, None] - layer.centres[None]).square().sum(-1)
    torch.testing.assert_close(layer(x), torch.exp(-layer.log_beta.exp() * squared))
    torch.testing.assert_close(layer(layer.centres), layer(layer.centres).clamp(0, 1))
    torch.testing.assert_close(layer(layer.centres).diagonal(), torch.ones(7, dtype=torch.float64), atol=1e-7, rtol=0)


def test_units_begin_at_one_over_e_for_uniform_pictures():
    torch.manual_seed(0)
    exponent = RBF(784, 64).exponent(torch.rand(200, 784, generator=GENERATOR))
    assert abs(exponent.mean() - 1) < 0.02


def test_the_gradient_is_finite_at_a_centre_and_far_away():
    layer = RBF(4, 1)
    for x in (layer.centres.detach().clone(), torch.full((1, 4), 1e3)):
        x.requires_grad_()
        slope, = torch.autograd.grad(layer(x).sum(), x)
        assert slope.isfinite().all()


def classifier(classes: int = 3) -> RBFClassifier:
    torch.manual_seed(0)
    return RBFClassifier((1, 4, 4), classes)


def test_log_odds_are_those_of_the_units_probability():
    net = classifier().double()
    x = torch.rand(20, 1, 4, 4, generator=GENERATOR, dtype=torch.float64)
    torch.testing.assert_close(net(x).sigmoid(), net.units(x.flatten(1)))


def test_far_from_every_centre_all_classes_say_no_and_at_a_centre_the_odds_are_finite():
    net = classifier().double()
    far = net(torch.full((1, 1, 4, 4), 50.0, dtype=torch.float64))
    assert far.sigmoid().max() < 1e-9
    at = net(net.units.centres.detach().view(-1, 1, 4, 4))
    assert at.isfinite().all() and (at.argmax(1) == torch.arange(3)).all()


def test_it_starts_at_the_mean_pictures_with_one_half_at_the_mean_distance():
    labels = torch.arange(60) % 3
    images = (torch.rand(60, 1, 4, 4, generator=GENERATOR) * (labels + 1).view(-1, 1, 1, 1) / 3)
    net = classifier().start_at(images, labels)
    for k in range(3):
        own = images[labels == k].flatten(1)
        torch.testing.assert_close(net.units.centres[k], own.mean(0))
        mean_distance = (own - own.mean(0)).square().sum(1).mean()
        assert abs(torch.exp(-net.units.log_beta[k].exp() * mean_distance) - 0.5) < 1e-5


@pytest.mark.parametrize("images, labels, message", [
    (torch.rand(6, 1, 4, 5), torch.arange(6) % 3, "images: expected pictures of 16 values"),
    (torch.rand(6, 1, 4, 4), torch.arange(6) % 2, "labels: expected all 3 classes"),
    (torch.rand(6, 1, 4, 4), torch.arange(6), "labels"),
    (2 + torch.rand(6, 1, 4, 4), torch.arange(6) % 3, "images")])
def test_a_start_that_does_not_fit_is_refused(images, labels, message):
    with pytest.raises(ValueError, match=message):
        classifier().start_at(images, labels)


def test_the_own_loss_is_the_sum_of_the_classes_yes_or_no():
    p = torch.tensor([[0.7, 0.2, 0.6], [0.1, 0.1, 0.1]], dtype=torch.float64)
    y = torch.tensor([0, 2])
    by_hand = torch.tensor([math.log(0.7) + math.log(0.8) + math.log(0.4), math.log(0.9) + math.log(0.9) + math.log(0.1)], dtype=torch.float64)
    torch.testing.assert_close(own_losses(p.logit(), y), -by_hand)
    torch.testing.assert_close(own_loss(lambda x: p.logit(), p, y), -by_hand.mean())


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_deep_net_has_the_layers_that_were_asked_for(depth, batch_norm):
    net = deep_rbf(16, 3, depth, width=8, batch_norm=batch_norm)
    assert net(torch.rand(5, 1, 4, 4)).shape == (5, 3)
    assert sum(isinstance(part, RBF) for part in net) == depth
    assert sum(isinstance(part, torch.nn.BatchNorm1d) for part in net) == (depth - 1 if batch_norm else 0)


def test_another_layer_takes_the_place_of_the_rbf_units():
    net = deep_rbf(16, 3, 4, width=8, layer=torch.nn.Linear)
    assert [(p.in_features, p.out_features) for p in net if isinstance(p, torch.nn.Linear)] == [(16, 8), (8, 8), (8, 8), (8, 8), (8, 3)]


@pytest.mark.parametrize("make", [lambda: RBF(0, 3), lambda: RBF(3, 0), lambda: RBFClassifier((1, 4, 4), 1), lambda: deep_rbf(4, 3, 0), lambda: deep_rbf(4, 1, 2)])
def test_sizes_that_make_no_net_are_refused(make):
    with pytest.raises(ValueError):
        make()


# --- papers' figures ---------------------------------------------------------------------------------------------

QUOTED = Quoted("error, %", 90.0, "mnist", within=2, beyond=50.0)


@pytest.mark.parametrize("measured, data, verdict", [
    (91.9, "mnist", "reproduced"), (88.1, "mnist", "reproduced"), (85.0, "mnist", "direction only"), (99.0, "mnist", "direction only"),
    (50.0, "mnist", "not reproduced"), (30.0, "mnist", "not reproduced"), (90.0, "digits", "not run"), (float("nan"), "mnist", "not reproduced")])
def test_a_verdict_follows_the_figure_and_the_data(measured, data, verdict):
    assert QUOTED.verdict(measured, data) == verdict


def test_the_direction_of_a_paper_may_be_down():
    less = Quoted("error, %", 10.0, "mnist", within=1, beyond=50.0)
    assert [less.verdict(m, "mnist") for m in (10.5, 30.0, 60.0)] == ["reproduced", "direction only", "not reproduced"]
    with pytest.raises(ValueError, match="beyond"):
        Quoted("error, %", 10.0, "mnist", within=1, beyond=10.0).verdict(3.0, "mnist")


def test_the_printed_lines_say_both_figures_and_on_which_data(capsys):
    print_verdicts([(QUOTED, torch.tensor(89.0))], "mnist")
    print_verdicts([(QUOTED, 89.0)], "digits")
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["error,", "%", "90", "89", "reproduced"]
    assert lines[3].endswith("not run (digits, not mnist)")


# --- their figures -----------------------------------------------------------------------------------------------

def test_a_border_figure_refuses_other_dimensions():
    from course_utils import plots
    with pytest.raises(ValueError, match="panels"):
        plots.border_steps({"": Border(torch.rand(5, 3), torch.ones(5).bool(), torch.ones(3), 0.0, torch.ones(3), torch.ones(3), 0.1)}, ("a", "b"), axes="ab")


def test_the_wall_is_white_where_right_and_coloured_by_class_elsewhere():
    from course_utils import plots
    from course_utils.plots.style import PALETTE
    maps = torch.tensor([[[0, 0, 1], [0, 0, 2], [0, 0, 2]], [[1, 1, 1], [1, 1, 1], [1, 1, 0]]])
    image = plots.cross_sections({"": maps}, torch.tensor([0, 1]), ["a", "b", "c"], columns=2).axes[0].images[0]
    colours = image.cmap(image.norm(image.get_array()))[..., :3]
    assert colours[1, 1].tolist() == [1, 1, 1] and colours[1, 3] == pytest.approx(PALETTE[1]) and colours[2, 3] == pytest.approx(PALETTE[2])
    assert colours[1, 5].tolist() == [1, 1, 1] and colours[3, 7] == pytest.approx(PALETTE[0])
    with pytest.raises(ValueError, match="axes"):
        plots.cross_sections({"": maps}, torch.tensor([0, 1]), ["a", "b", "c"], axes=[("x", "y")] * 2)
