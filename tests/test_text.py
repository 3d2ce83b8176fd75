"""Text to image: the nets, texts that nearly match, the critic's loss against its formula, what a step may change."""
from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import softplus

from course_utils.gan import NON_SATURATING, NearMisses, cls_loss, interpolate, text_step
from course_utils.models import TextCritic, TextEncoder, TextGenerator

SHAPE = (3, 16, 16)


# --- the nets ----------------------------------------------------------------------------------------------------

def test_a_code_is_the_sum_of_its_words_and_no_word_adds_nothing():
    torch.manual_seed(0)
    E = TextEncoder(7, 5)
    vectors = E.vectors.weight.detach()
    code = E(torch.tensor([[1, 3, 0, 0], [3, 1, 7, 7]]))
    torch.testing.assert_close(code.detach(), torch.stack([vectors[1] + vectors[3], vectors[3] + vectors[1] + 2 * vectors[7]]))
    assert not vectors[0].any() and vectors[1:].std() < 0.1
    code.sum().backward()
    assert not E.vectors.weight.grad[0].any() and E.vectors.weight.grad[7].eq(2).all()


@pytest.mark.parametrize("numbers", [torch.zeros(3, dtype=torch.int64), torch.zeros(3, 4)])
def test_an_encoder_takes_numbers_of_words_only(numbers):
    with pytest.raises(ValueError, match="^numbers: expected captions"):
        TextEncoder(7)(numbers)


def test_a_generator_draws_pictures_that_depend_on_noise_and_on_text():
    torch.manual_seed(0)
    G = TextGenerator(4, 6, SHAPE, 4).eval()
    z, code = torch.randn(2, 4), torch.randn(2, 6)
    x = G(z, code)
    assert x.shape == (2, *SHAPE) and 0 <= x.min() and x.max() <= 1
    assert not torch.allclose(x, G(z.flip(0), code)) and not torch.allclose(x, G(z, code.flip(0)))


def test_a_critic_matches_by_the_inner_product():
    torch.manual_seed(0)
    D = TextCritic(6, SHAPE, 4).eval()
    x, code = torch.rand(3, *SHAPE), torch.randn(3, 6)
    seen = D.look(x)
    assert seen.shape == (3, 6)
    expected = seen @ D.real.weight[0] + D.real.bias + torch.einsum("bi,bi->b", seen, code)
    torch.testing.assert_close(D(x, code), expected)
    torch.testing.assert_close(D.match(seen, code + code) - D.match(seen, code), D.match(seen, code) - D.match(seen, 0 * code))


def test_sizes_are_checked():
    for make in (lambda: TextEncoder(0), lambda: TextEncoder(3, 0), lambda: TextGenerator(4, 0, SHAPE), lambda: TextCritic(0, SHAPE), lambda: TextCritic(4, SHAPE, 0)):
        with pytest.raises(ValueError, match=": expected a whole number"):
            make()
    with pytest.raises(ValueError, match="square pictures"):
        TextCritic(4, (3, 16, 20))


# --- near misses -------------------------------------------------------------------------------------------------

def table(n: int = 400) -> dict[str, torch.Tensor]:
    """Three attributes of 3, 2 and 4 values; the pair (shape 2, colour 1) never occurs."""
    stream = torch.Generator().manual_seed(0)
    all_of = {name: torch.randint(size, (n,), generator=stream) for name, size in (("shape", 3), ("colour", 2), ("size", 4))}
    there = ~((all_of["shape"] == 2) & (all_of["colour"] == 1))
    return {name: values[there] for name, values in all_of.items()}


@pytest.mark.parametrize("name", ["shape", "colour", "size"])
def test_a_near_miss_differs_in_that_attribute_and_in_no_other(name):
    torch.manual_seed(0)
    attributes = table()
    rows = (attributes["shape"] != 2).nonzero().flatten() if name == "colour" else torch.arange(len(attributes["size"]))
    other = NearMisses(attributes).differing_in(name, rows)
    for key, values in attributes.items():
        assert ((values[rows] != values[other]) == (key == name)).all()


def test_near_misses_take_every_value_and_every_picture_of_it():
    torch.manual_seed(0)
    attributes = table()
    near, rows = NearMisses(attributes), torch.zeros(4000, dtype=torch.int64)
    other = near.differing_in("size", rows)
    possible = (attributes["shape"] == attributes["shape"][0]) & (attributes["colour"] == attributes["colour"][0]) & (attributes["size"] != attributes["size"][0])
    assert set(other.tolist()) == set(possible.nonzero().flatten().tolist())
    counts = torch.bincount(attributes["size"][other], minlength=4)
    assert (counts[counts > 0].float() / 4000 - 1 / 3).abs().max() < 0.05, "each other value is as likely"


def test_rows_without_a_neighbour_and_unknown_attributes_are_refused():
    near = NearMisses(table())
    lonely = (table()["shape"] == 2).nonzero().flatten()
    with pytest.raises(ValueError, match="^rows: expected pictures with a neighbour of another colour"):
        near.differing_in("colour", lonely)
    with pytest.raises(ValueError, match="^name: expected one of shape, colour, size"):
        near.differing_in("weight", lonely)
    with pytest.raises(ValueError, match="^attributes: expected at least one"):
        NearMisses({})


# --- the loss ----------------------------------------------------------------------------------------------------

def test_the_critics_loss_is_the_formula_in_value_and_slope():
    torch.manual_seed(0)
    logits = [torch.randn(6, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    right, wrong, fake = logits
    d = [l.detach().sigmoid() for l in logits]
    value = cls_loss(*logits)
    torch.testing.assert_close(value.detach(), -d[0].log().mean() - ((1 - d[1]).log().mean() + (1 - d[2]).log().mean()) / 2)
    slopes = torch.autograd.grad(value, logits)
    for slope, wanted in zip(slopes, (-(1 - d[0]) / 6, d[1] / 12, d[2] / 12)):
        torch.testing.assert_close(slope, wanted)


def test_without_mismatched_pairs_it_is_the_plain_conditional_loss():
    right, fake = torch.randn(6), torch.randn(6)
    torch.testing.assert_close(cls_loss(right, None, fake), NON_SATURATING.for_critic(right, fake))


def test_several_wrong_texts_a_picture_count_as_their_mean():
    right, wrong, fake = torch.randn(6), torch.randn(4, 6), torch.randn(6)
    torch.testing.assert_close(cls_loss(right, wrong, fake), torch.stack([cls_loss(right, one, fake) for one in wrong]).mean())


# --- a step ------------------------------------------------------------------------------------------------------

def nets():
    torch.manual_seed(0)
    G, D, E = TextGenerator(4, 6, SHAPE, 4), TextCritic(6, SHAPE, 4), TextEncoder(9, 6)
    stream = torch.Generator().manual_seed(1)
    x, z = torch.rand(5, *SHAPE, generator=stream), torch.randn(5, 4, generator=stream)
    right, wrong = (torch.randint(1, 10, size, generator=stream) for size in ((5, 3), (2, 5, 3)))
    return G, D, E, x, right, wrong, z


@pytest.mark.parametrize("mismatched", [True, False])
def test_a_step_is_one_gradient_step_of_each_side(mismatched):
    G, D, E, x, right, wrong, z = nets()
    wrong = wrong if mismatched else None
    G2, D2, E2 = copy.deepcopy((G, D, E))
    lr = 0.1
    d_loss, g_loss = text_step(G, D, E, torch.optim.SGD(G.parameters(), lr), torch.optim.SGD([*D.parameters(), *E.parameters()], lr), x, right, wrong, z)

    code, fake = E2(right), None
    fake = G2(z, code.detach())
    on_real = softplus(-D2(x, code)).mean()
    on_fake = softplus(D2(fake.detach(), code)).mean()
    if mismatched:
        on_fake = (on_fake + sum(softplus(D2(x, E2(one))).mean() for one in wrong) / 2) / 2
    torch.testing.assert_close(d_loss, (on_real + on_fake).detach())
    critic = [*D2.parameters(), *E2.parameters()]
    for p, grad in zip(critic, torch.autograd.grad(on_real + on_fake, critic)):
        p.data -= lr * grad
    value = softplus(-D2(fake, code.detach())).mean()
    torch.testing.assert_close(g_loss, value.detach())
    for p, grad in zip(G2.parameters(), torch.autograd.grad(value, list(G2.parameters()))):
        p.data -= lr * grad
    for one, other in ((G, G2), (D, D2), (E, E2)):
        for a, b in zip(one.parameters(), other.parameters()):
            torch.testing.assert_close(a.detach(), b.detach())


def test_the_generators_step_leaves_critic_and_encoder_alone():
    G, D, E, x, right, wrong, z = nets()
    opt_g = torch.optim.SGD(G.parameters(), 0.1)
    seen = {}
    opt_g.register_step_pre_hook(lambda *_: seen.update(d=[p.grad.clone() for p in D.parameters()], e=E.vectors.weight.grad.clone()))
    opt_d = torch.optim.SGD([*D.parameters(), *E.parameters()], 0.0)
    before = {}
    opt_d.register_step_pre_hook(lambda *_: before.update(d=[p.grad.clone() for p in D.parameters()], e=E.vectors.weight.grad.clone()))
    text_step(G, D, E, opt_g, opt_d, x, right, wrong, z)
    assert torch.equal(seen["e"], before["e"]) and all(torch.equal(a, b) for a, b in zip(seen["d"], before["d"]))
    assert all(p.requires_grad for p in D.parameters())


def test_a_critic_with_mismatched_pairs_tells_texts_apart_and_one_without_has_no_reason_to():
    """Bright pictures are word 1, dark ones word 2, and the generator is silenced: only mismatched pairs teach which is which."""
    def gap(mismatched: bool) -> float:
        torch.manual_seed(0)
        D, E = TextCritic(6, SHAPE, 4), TextEncoder(2, 6)
        G = TextGenerator(4, 6, SHAPE, 4)
        opt_d, opt_g = torch.optim.Adam([*D.parameters(), *E.parameters()], 1e-2), torch.optim.SGD(G.parameters(), 0.0)
        for _ in range(40):
            word = torch.randint(1, 3, (16, 1))
            x = (0.3 * word.view(-1, 1, 1, 1) + 0.1 * torch.rand(16, *SHAPE)).clamp(0, 1)
            text_step(G, D, E, opt_g, opt_d, x, word, (3 - word)[None] if mismatched else None, torch.randn(16, 4))
        with torch.no_grad():
            D.eval()
            return (D(x, E(word)) - D(x, E(3 - word))).mean().item()
    assert gap(True) > 2 and gap(False) < gap(True) / 2


# --- between two texts -------------------------------------------------------------------------------------------

def test_codes_between_two_captions_lie_on_the_straight_line():
    start, end = torch.randn(3, 5), torch.randn(3, 5)
    path = interpolate(start, end, 5)
    assert path.shape == (5, 3, 5)
    for share, codes in zip((0, 0.25, 0.5, 0.75, 1), path):
        torch.testing.assert_close(codes, (1 - share) * start + share * end)


def test_interpolation_needs_two_steps_and_equal_shapes():
    with pytest.raises(ValueError, match="^steps: expected at least 2, got 1"):
        interpolate(torch.zeros(2, 3), torch.zeros(2, 3), 1)
    with pytest.raises(ValueError, match="^end: expected the shape"):
        interpolate(torch.zeros(2, 3), torch.zeros(3, 3), 4)


def test_nets_are_modules():
    assert all(isinstance(net, nn.Module) for net in nets()[:3])
