"""Defences against closed forms, planted wrong values and bad input."""
from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from course_utils.attacks import expectation, fgsm, pgd
from course_utils.data import ImageSet
from course_utils.defenses import (
    Decoded, Glimpses, Hedged, Noise, Redrawing, adversarial, bits_loss, codewords, double_backprop, learn_to_restore, noisy, small_weights,
)
from course_utils.defenses.adversarial import from_new_points
from course_utils.models import FCAutoEncoder
from course_utils.models.layered import layered
from course_utils.training import fit


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path))
    torch.manual_seed(0)


def linear(inputs: int = 36, outputs: int = 4) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, outputs)).double()


X = torch.rand(20, 1, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
Y = torch.arange(20) % 4

# ---------------------------------------------------------------- losses


@pytest.mark.parametrize("clean", [0.0, 0.3, 1.0])
def test_adversarial_training_is_the_weighted_loss_at_the_attack_and_at_the_picture(clean):
    net = linear()
    attacked = fgsm(net, X, Y, eps=0.1)
    wanted = (1 - clean) * cross_entropy(net(attacked), Y) + clean * cross_entropy(net(X), Y)
    torch.testing.assert_close(adversarial(net, X, Y, attack=partial(fgsm, eps=0.1), clean=clean), wanted)


def test_no_gradient_flows_through_the_attack():
    net = linear()
    through = lambda model, x, y: (x + 0 * x + 0.1 * model(x).sum() * torch.ones_like(x)).clamp(0, 1)  # noqa: E731
    adversarial(net, X, Y, attack=through).backward()
    got = net[1].weight.grad.clone()
    net.zero_grad()
    cross_entropy(net(through(net, X, Y).detach()), Y).backward()
    torch.testing.assert_close(got, net[1].weight.grad)


def test_training_on_attacks_makes_robust_what_training_on_data_does_not():
    """A strong feature that the attack can't turn, and many weak ones that it can (Tsipras et al. 2018)."""
    torch.manual_seed(3)
    labels = torch.arange(400) % 2
    side = 2.0 * labels[:, None] - 1
    strong = 0.5 + 0.4 * side * torch.where(torch.rand(400, 1) < 0.95, 1, -1)
    weak = (0.5 + 0.08 * side + 0.05 * torch.randn(400, 99)).clamp(0, 1)
    data = ImageSet(torch.cat([strong, weak], 1).view(400, 1, 10, 10), labels, ("minus", "plus"), "features")

    def robustness(loss) -> float:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(100, 2))
        fit(net, data, loss=loss, epochs=15, batch=50, lr=1e-2, progress=False)
        found = pgd(net, data.images, labels, eps=0.2, steps=5)
        return (net(found).argmax(1) == labels).float().mean().item()

    assert robustness(lambda model, x, y: cross_entropy(model(x), y)) < 0.2
    assert robustness(partial(adversarial, attack=partial(pgd, eps=0.2, steps=5))) > 0.8


def test_double_backprop_of_a_linear_model_in_closed_form():
    net, weight = linear(), 0.7
    errors = net(X).softmax(1) - nn.functional.one_hot(Y, 4)
    slope = errors @ net[1].weight
    wanted = cross_entropy(net(X), Y) + weight * slope.square().sum(1).mean()
    got = double_backprop(net, X, Y, weight=weight)
    torch.testing.assert_close(got, wanted)
    torch.testing.assert_close(torch.autograd.grad(got, net[1].weight)[0], torch.autograd.grad(wanted, net[1].weight)[0])


def test_small_weights_counts_matrices_and_no_biases():
    net = linear()
    wanted = cross_entropy(net(X), Y) + 0.05 * net[1].weight.square().sum()
    torch.testing.assert_close(small_weights(net, X, Y, weight=0.1), wanted)


def test_noisy_sees_noise_of_the_size_asked_for_inside_the_box():
    seen = []

    def model(x):
        seen.append(x)
        return x.flatten(1)[:, :4]

    flat = torch.full((50, 1, 20, 20), 0.5)
    noisy(model, flat, torch.zeros(50, dtype=torch.int64), sigma=0.05)
    assert abs((seen[0] - 0.5).std().item() - 0.05) < 0.002 and abs((seen[0] - 0.5).mean()) < 0.002
    noisy(model, flat, torch.zeros(50, dtype=torch.int64), sigma=2.0)
    assert seen[1].min() == 0 and seen[1].max() == 1 and not torch.equal(seen[0], seen[1])


@pytest.mark.parametrize("call, name", [
    (lambda: adversarial(linear(), X, Y, attack=partial(fgsm, eps=0.1), clean=1.5), "clean"),
    (lambda: adversarial(linear(), X, Y, attack=None), "attack"),
    (lambda: adversarial(linear(), X, Y, attack=lambda model, x, y: x[:3]), r"attack\(model, x, y\)"),
    (lambda: double_backprop(linear(), X, Y, weight=0.0), "weight"),
    (lambda: small_weights(linear(), X, Y, weight=-1.0), "weight"),
    (lambda: noisy(linear(), X, Y, sigma=0), "sigma"),
    (lambda: Noise(-0.1), "sigma"),
    (lambda: Glimpses(0), "size"),
    (lambda: Glimpses(7)(X), "size"),
    (lambda: Hedged(None, 0.1), "model"),
    (lambda: Hedged(linear(), 0.0), "size"),
    (lambda: Hedged(linear(), 0.1, 0), "steps"),
    (lambda: codewords(10, 24), "bits"),
    (lambda: codewords(16, 16), "bits"),
    (lambda: codewords(1, 16), "classes"),
    (lambda: Decoded(linear(), torch.ones(3)), "words"),
    (lambda: Decoded(linear(), torch.zeros(2, 4)), "words"),
    (lambda: Decoded(linear(), torch.ones(2, 4)), "words"),
    (lambda: Decoded(linear(), codewords(3, 4), "guess"), "decode"),
    (lambda: Decoded(linear(), codewords(3, 8))(X), "net"),
    (lambda: Redrawing(nn.Conv2d(1, 2, 3), (1, 6, 6)), "first"),
    (lambda: learn_to_restore(linear(36, 36).float(), X.float(), X.float()[:3], epochs=1, name="t"), "spoiled"),
    (lambda: learn_to_restore(linear(36, 36).float(), X.float(), Noise(0.1), epochs=1, name="t", batch=10), "model"),
    (lambda: learn_to_restore(linear(36, 36).float(), X.float(), Noise(0.1), epochs=1, name="t", batch=100), "batch"),
    (lambda: learn_to_restore(linear(36, 36).float(), X.float() - 1, Noise(0.1), epochs=1, name="t"), "images"),
    (lambda: layered((1, 6, 6), 0), "outputs"),
    (lambda: layered((1, 6, 6), 4, widths=()), "widths"),
    (lambda: layered((1, 6, 6), 4, widths=(0,)), "widths"),
    (lambda: layered((1, 6, 6), 4, maps=(0,)), "maps"),
    (lambda: layered((1, 6, 6), 4, drop=1.0), "drop"),
])
def test_bad_arguments_are_named(call, name):
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        call()

# ---------------------------------------------------------------- at test time


def test_hedging_moves_against_the_answers_own_gradient():
    net, size = linear(), 0.03
    answer = net(X).argmax(1)
    wanted = (X + (fgsm(net, X, answer, eps=size) - X)).clamp(0, 1)  # raising the loss of the own answer is lowering its probability
    torch.testing.assert_close(Hedged(net, size)(X), net(wanted))


def test_hedging_lowers_the_confidence_and_turns_what_lies_just_across_a_border():
    net = linear()
    answer = net(X).argmax(1)
    chance = lambda logits: logits.softmax(1).gather(1, answer[:, None])  # noqa: E731
    assert (chance(Hedged(net, 0.01)(X)) < chance(net(X))).all()
    across = pgd(net, X, answer, eps=0.5, steps=500, random_start=False, early_stop=True)
    assert (net(across).argmax(1) != answer).all()
    assert (Hedged(net, 0.02)(across).argmax(1) == answer).float().mean() > 0.9


def test_hedging_under_no_grad_and_its_gradient_is_that_of_the_logits_behind():
    net = linear()
    with torch.no_grad():
        quiet = Hedged(net, 0.05, steps=3)(X)
    assert not quiet.requires_grad
    x = X.clone().requires_grad_()
    logits = Hedged(net, 0.05, steps=3)(x)
    torch.testing.assert_close(quiet, logits.detach())
    slope, = torch.autograd.grad(logits[:, 2].sum(), x)
    torch.testing.assert_close(slope, net[1].weight[2].view(1, 1, 6, 6).expand_as(X))
    assert all(p.grad is None for p in net.parameters())


def test_noise_is_repeatable_has_its_size_and_stays_in_the_box():
    flat = torch.full((20, 1, 30, 30), 0.5)
    a, b = (Noise(0.1)(flat, torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(a, b) and abs((a - 0.5).std().item() - 0.1) < 0.003
    assert Noise(5.0)(flat).min() == 0 and Noise(5.0)(flat).max() == 1


def test_glimpses_are_windows_at_all_places():
    ramp = (torch.arange(6.0)[:, None] * 6 + torch.arange(6.0))[None, None].expand(300, 1, 6, 6) / 36
    seen = Glimpses(6)(ramp)
    torch.testing.assert_close(seen, ramp)  # the whole window is the picture
    corners = {round(v * 36) for v in Glimpses(4)(ramp)[:, 0].flatten(1).amin(1).tolist()}  # the window's upper left pixel
    assert corners == {6 * row + column for row in range(3) for column in range(3)}


def test_a_glimpse_is_the_window_enlarged_and_passes_gradients_to_what_was_seen():
    x = torch.rand(1, 2, 8, 8, requires_grad=True)
    seen = Glimpses(5)(x, torch.Generator().manual_seed(0))
    windows = [nn.functional.interpolate(x[:, :, r : r + 5, c : c + 5], (8, 8), mode="bilinear", align_corners=False) for r in range(4) for c in range(4)]
    assert sum(torch.allclose(seen, w) for w in windows) == 1
    slope, = torch.autograd.grad(seen.sum(), x)
    assert int((slope != 0).sum()) == 2 * 25


def test_randomised_defences_answer_as_the_mean_of_many_looks():
    net = linear().float()
    looks = expectation(net, Noise(0.2), draws=500, mean="probabilities")
    some = X.float()[:3]
    mean = torch.stack([net(Noise(0.2)(some)).softmax(1) for _ in range(2000)]).mean(0)
    torch.testing.assert_close(looks(some).exp(), mean, atol=0.02, rtol=0)

# ---------------------------------------------------------------- codes


@pytest.mark.parametrize("classes, bits", [(3, 4), (10, 16), (10, 32), (31, 32)])
def test_any_two_words_differ_in_half_of_their_bits(classes, bits):
    words = codewords(classes, bits)
    assert words.shape == (classes, bits) and set(words.flatten().tolist()) == {-1.0, 1.0}
    differ = (words[:, None] != words).sum(2)
    assert (differ[~torch.eye(classes, dtype=torch.bool)] == bits // 2).all()


def test_seven_of_32_wrong_bits_are_corrected_and_eight_need_not_be():
    words, decode = codewords(10, 32), None
    for _ in range(50):
        wrong = torch.rand(10, 32).argsort(1) < 7
        decode = Decoded(lambda s: s, words, "votes")(torch.where(wrong, -words, words))
        assert (decode.argmax(1) == torch.arange(10)).all()
    half_way = words[0].clone()
    half_way[(words[0] != words[1]).nonzero().flatten()[:8]] *= -1
    votes = Decoded(lambda s: s, words, "votes")(half_way[None])[0]
    assert votes[0] == votes[1]


def test_likelihood_is_the_sum_over_bits_and_trains_with_their_binary_cross_entropies():
    words = codewords(4, 8).double()
    net = linear(36, 8)
    decoded = Decoded(net, words)
    wanted = torch.stack([-binary_cross_entropy_with_logits(net(X), (word > 0).double().expand(20, -1), reduction="none").sum(1) for word in words], 1)
    torch.testing.assert_close(decoded(X), wanted)
    torch.testing.assert_close(bits_loss(decoded, X, Y), -wanted.gather(1, Y[:, None]).mean())


def test_votes_have_no_gradient_and_likelihood_has():
    net, words = linear(36, 8), codewords(4, 8)
    for decode, there in (("votes", False), ("likelihood", True)):
        x = X.clone().requires_grad_()
        slope, = torch.autograd.grad(cross_entropy(Decoded(net, words, decode)(x), Y), x)
        assert bool((slope != 0).any()) == there


def test_scores_far_out_keep_the_likelihood_finite():
    scores = torch.tensor([[1e4, -1e4, 1e4, -1e4]])
    decoded = Decoded(lambda s: s, codewords(3, 4))(scores)
    assert decoded.isfinite().all() and decoded.argmax(1).item() == 0 and decoded[0, 0] == 0

# ---------------------------------------------------------------- auto-encoders


def blobs(count: int) -> torch.Tensor:
    """Pictures of one bright square at one of four places."""
    pictures = torch.zeros(count, 1, 8, 8)
    for i in range(count):
        row, column = divmod(i % 4, 2)
        pictures[i, 0, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 1
    return pictures


def test_an_auto_encoder_learns_to_take_noise_away_and_is_told_apart_from_one_that_does_not():
    clean = blobs(200)
    model = FCAutoEncoder((1, 8, 8), code=4, width=32)
    dirty = Noise(0.4)(clean, torch.Generator().manual_seed(0))
    before = (model(dirty) - clean).square().mean()
    history = learn_to_restore(model, clean, Noise(0.4), epochs=40, name="t", batch=50, lr=1e-2, progress=False)
    after = (model(dirty) - clean).square().mean()
    assert after < 0.1 * before and after < 0.2 * (dirty - clean).square().mean()
    assert len(history["loss"]) == 160 and history["loss"][-1] < history["loss"][0]


@pytest.mark.parametrize("spoil", [lambda clean: 1 - clean, lambda clean: (lambda x: 1 - x)])
def test_what_goes_in_is_the_spoiled_picture_of_the_one_that_has_to_come_out(spoil):
    """As a tensor in the order of the pictures, though that is shuffled in training; or as a function."""
    clean = blobs(100)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.Sigmoid(), nn.Unflatten(1, (1, 8, 8)))
    learn_to_restore(model, clean, spoil(clean), epochs=60, name="t", batch=50, lr=3e-2, progress=False)
    assert (model(1 - clean) - clean).abs().max() < 0.2


def test_redrawing_trains_the_first_layers_in_place():
    net = layered((1, 8, 8), 4, widths=(16,))
    before, last = net[2].weight.clone(), net[-1].weight.clone()
    redrawing = Redrawing(net[:-1], (1, 8, 8), hidden=16)
    learn_to_restore(redrawing, blobs(100), lambda x: x, epochs=5, name="t", batch=50, progress=False)
    assert redrawing(blobs(4)).shape == (4, 1, 8, 8)
    assert not torch.equal(before, net[2].weight) and torch.equal(last, net[-1].weight)

# ---------------------------------------------------------------- the net


def test_layered_has_the_layers_it_was_asked_for():
    net = layered((3, 8, 8), 5, maps=(4, 6), widths=(7, 9), unit=nn.Tanh, drop=0.25)
    assert [type(part).__name__ for part in net] == ["Shift", "Conv2d", "Tanh", "Conv2d", "Tanh", "Flatten", "Linear", "Tanh", "Dropout", "Linear", "Tanh", "Dropout", "Linear"]
    assert net[-1].out_features == 5 and net[8].p == 0.25 and net[6].in_features == 6 * 2 * 2
    assert net(torch.rand(2, 3, 8, 8)).shape == (2, 5)
    torch.testing.assert_close(net[0](torch.tensor([0.0, 1.0])), torch.tensor([-0.5, 0.5]))
    assert not any(isinstance(part, nn.Dropout) for part in layered((1, 8, 8), 2))


def test_pictures_that_a_generator_made_can_be_learnt_from():
    scale = torch.ones(1, requires_grad=True)
    images = torch.rand(8, 1, 6, 6) * scale
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 36), nn.Sigmoid(), nn.Unflatten(1, (1, 6, 6)))
    learn_to_restore(net, images, images * 0.5, epochs=2, batch=4, name="made", progress=False)
    assert scale.grad is None


def test_defences_do_not_depend_on_torchs_default_device():
    seen, net = [], nn.Sequential(nn.Flatten(), nn.Linear(36, 4))
    torch.set_default_device("meta")
    try:
        words = codewords(4, 8)
        from_new_points(lambda model, x, y, generator: seen.append(generator.device.type))(net, X, Y)
    finally:
        torch.set_default_device(None)
    assert words.device.type == "cpu" and seen == ["cpu"]
    assert Redrawing(net.to("meta"), (1, 6, 6)).draw is not None
