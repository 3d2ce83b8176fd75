"""Virtual adversarial training against closed forms, the exact Hessian and what its implementations in circulation get wrong."""
from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from course_utils.vat import _difference, _unit, divergence, entropy, vat_loss, virtual_adversarial, virtual_direction

X = torch.rand(12, 1, 4, 4, generator=torch.Generator().manual_seed(0))


def stream(number: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(number)


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 30), nn.Tanh(), nn.Linear(30, 5))


def batch_norm_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 30), nn.BatchNorm1d(30), nn.ReLU(), nn.Dropout(0.5), nn.Linear(30, 5))


def exact_hessians(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """H of KL(p(x) || p(x + r)) at r = 0, for each example, (B, D, D), in double precision."""
    net, x = copy.deepcopy(net).double(), x.double()

    def one(v: torch.Tensor) -> torch.Tensor:
        p = net(v[None]).softmax(1).detach()
        return torch.autograd.functional.hessian(lambda r: F.kl_div(net((v + r.view_as(v))[None]).log_softmax(1), p, reduction="sum"), torch.zeros(v.numel(), dtype=v.dtype))

    return torch.stack([one(v) for v in x])


def length(values: torch.Tensor) -> torch.Tensor:
    return values.flatten(1).double().norm(dim=1)


# ---- the direction -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("xi", [1e-6, 1e-3, 1e-1])
def test_one_round_is_the_hessian_times_the_random_direction(net, xi, dtype):
    model, x = copy.deepcopy(net).to(dtype), X.to(dtype)
    first = virtual_direction(model, x, iterations=0, generator=stream())
    found = virtual_direction(model, x, xi=xi, iterations=1, generator=stream())
    wanted = torch.einsum("bij,bj->bi", exact_hessians(net, X), first.flatten(1).double())
    assert F.cosine_similarity(found.flatten(1).double(), wanted).min() > (0.99 if xi == 1e-1 else 0.9999)


def in_tf32(values: torch.Tensor) -> torch.Tensor:
    """``values`` with mantissas of 10 bits while torch is allowed to; gradients go through."""
    mantissa, exponent = torch.frexp(values.detach())
    rounded = torch.ldexp((mantissa * 2**11).round() / 2**11, exponent)
    return values + (rounded - values.detach()) if torch.backends.cudnn.allow_tf32 else values


def test_small_steps_do_not_drown_in_tf32(net):
    """A GPU rounds the factors of products; emulated here, and forbidden by what the GPU would look at as well."""
    def model(x: torch.Tensor) -> torch.Tensor:
        hidden = (in_tf32(x.flatten(1)) @ in_tf32(net[1].weight).T + net[1].bias).tanh()
        return in_tf32(hidden) @ in_tf32(net[3].weight).T + net[3].bias

    assert torch.backends.cudnn.allow_tf32 and not torch.equal(model(X), net(X)), "the emulation rounds"
    for find in (virtual_direction, lambda *a, **k: virtual_adversarial(*a, eps=1.0, **k) - X, lambda *a, **k: vat_loss(*a, eps=1.0, **k)[None]):
        assert torch.equal(find(model, X, generator=stream()), find(net, X, generator=stream()))
    assert torch.equal(divergence(model, X, X + 1e-3), divergence(net, X, X + 1e-3))
    assert torch.backends.cudnn.allow_tf32


def test_many_rounds_find_the_top_eigenvector(net):
    values, vectors = torch.linalg.eigh(exact_hessians(net, X))
    found = virtual_direction(net, X, iterations=60, generator=stream()).flatten(1).double()
    clear = values[:, -2] < 0.9 * values[:, -1]
    assert clear.sum() >= 5
    assert (found * vectors[:, :, -1]).sum(1).abs()[clear].min() > 0.99


@pytest.mark.parametrize("sure", [10.0, 30.0, 60.0])
def test_the_direction_is_right_where_the_model_is_nearly_sure(sure):
    """Two classes: the divergence depends on w x alone, so the direction is w, however small 1 - p is."""
    w = torch.randn(16, generator=stream())
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    with torch.no_grad():
        model[1].weight.copy_(torch.stack([torch.zeros(16), w]))
        model[1].bias.copy_(torch.tensor([0.0, -sure]))
    for xi in (1e-6, 1e-2):
        found = virtual_direction(model, X, xi=xi, generator=stream()).flatten(1)
        assert F.cosine_similarity(found, w.expand(12, -1)).abs().min() > 0.999


@pytest.mark.parametrize("xi", [1e-6, 1e-4, 1e-2, 1.0, 10.0])
@pytest.mark.parametrize("iterations", [0, 1, 3])
def test_the_perturbation_has_the_length_that_was_asked_for(net, xi, iterations):
    for eps in (0.03, 1.5, torch.linspace(0.1, 2, 12)):
        moved = virtual_adversarial(net, X, eps=eps, xi=xi, iterations=iterations, generator=stream())
        torch.testing.assert_close(length(moved.double() - X.double()), torch.as_tensor(eps).double().expand(12), rtol=1e-3, atol=0)
        assert not moved.requires_grad and moved.dtype == X.dtype


def test_the_loss_does_not_fade_with_xi(net):
    losses = [vat_loss(net, X, eps=1.0, xi=xi, generator=stream()).item() for xi in (1e-6, 1e-4, 1e-2, 1e-1)]
    random = vat_loss(net, X, eps=1.0, iterations=0, generator=stream()).item()
    assert max(losses) / min(losses) < 1.1 and min(losses) > 1.5 * random


def test_an_answer_that_never_changes_keeps_its_random_direction():
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    nn.init.zeros_(model[1].weight)
    moved = virtual_adversarial(model, X, eps=0.5, generator=stream())
    torch.testing.assert_close(moved, virtual_adversarial(model, X, eps=0.5, iterations=0, generator=stream()))
    torch.testing.assert_close(length(moved - X), torch.full((12,), 0.5, dtype=torch.float64), rtol=1e-3, atol=0)


def test_unit_length_of_what_is_tiny_and_of_what_is_nothing():
    values = torch.tensor([[3e-25, 4e-25], [3e30, 4e30], [0.0, 0.0], [3e-44, 4e-44]])
    torch.testing.assert_close(_unit(values, torch.tensor([[0.0, 1.0]] * 4)), torch.tensor([[0.6, 0.8], [0.6, 0.8], [0.0, 1.0], [0.6, 0.8]]), atol=0.03, rtol=0)


def test_the_difference_of_two_answers():
    clean = 5 * torch.randn(50, 7, generator=stream(), dtype=torch.float64)
    for size in (1e-6, 1e-2, 1.0, 10.0):
        moved = clean + size * torch.randn(50, 7, generator=stream(2), dtype=torch.float64)
        true = moved.softmax(1) - clean.softmax(1)
        found = _difference(clean, moved)
        ratio = found.norm(dim=1, keepdim=True) / true.norm(dim=1, keepdim=True)
        torch.testing.assert_close(found / ratio, true, atol=0, rtol=1e-6 if size > 1e-3 else 1e-3)
    assert _difference(torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 300.0]])).isfinite().all()


# ---- the constants, by hand ----------------------------------------------------------------------------


def two_classes() -> nn.Module:
    """Logits (0, 3 x + 4 y): the worst direction is (0.6, 0.8) or its opposite, and eps along it moves the second logit by 5 eps."""
    model = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
    return model


@pytest.mark.parametrize("eps, wanted", [(0.2, 0.120115), (0.4, 0.433781)])  # -log 2 - (log s(5 eps) + log s(-5 eps)) / 2, s the logistic function
def test_the_divergence_of_two_classes_by_hand(eps, wanted):
    x = torch.tensor([[0.0, 0.0], [4.0, -3.0], [-0.8, 0.6]])  # both answers at 1/2
    direction = virtual_direction(two_classes(), x, generator=stream())
    torch.testing.assert_close(direction.abs(), torch.tensor([[0.6, 0.8]] * 3), atol=1e-3, rtol=0)
    assert vat_loss(two_classes(), x, eps=eps, generator=stream()).item() == pytest.approx(wanted, abs=2e-5)
    each = divergence(two_classes(), x, x + eps * torch.tensor([0.6, 0.8]))
    torch.testing.assert_close(each, torch.full((3,), wanted), atol=2e-6, rtol=0)


@pytest.mark.parametrize("xi, wanted", [(1e-6, 2**-11.5), (1e-2, 1e-2), (3.0, 3.0)])  # 2^-23 is what float32 can tell from 1
def test_the_step_is_xi_or_the_root_of_the_precision_times_the_length_of_x(xi, wanted):
    seen, x = [], torch.tensor([[0.3, 0.4], [6.0, 8.0]])
    model = two_classes()
    virtual_direction(lambda v: seen.append(v.detach().double()) or model(v), x, xi=xi, generator=stream())
    clean, moved = seen
    steps = (moved - clean).norm(dim=1)
    assert steps[0].item() == pytest.approx(wanted, rel=1e-3)
    assert steps[1].item() == pytest.approx(max(xi, 10 * 2**-11.5), rel=1e-3)


def test_each_round_multiplies_by_the_eigenvalues():
    """Three classes at 1/3 and orthogonal columns that add up to 0: H = diag(2, 1) / 3, so a round doubles the first value against the second."""
    model = nn.Linear(2, 3, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.stack([torch.tensor([1.0, -1.0, 0.0]), torch.tensor([1.0, 1.0, -2.0]) / 6**0.5], dim=1))
    x = torch.zeros(40, 2)
    first = virtual_direction(model, x, iterations=0, generator=stream())
    for rounds in (1, 2, 3):
        found = virtual_direction(model, x, iterations=rounds, generator=stream())
        wanted = F.normalize(first * torch.tensor([2.0**rounds, 1.0]))
        torch.testing.assert_close(found, wanted, atol=2e-3, rtol=0)


# ---- the loss ----------------------------------------------------------------------------------------


def test_value_and_gradient_are_those_of_the_divergence_with_the_clean_answer_fixed(net):
    moved = virtual_adversarial(net, X, eps=0.7, generator=stream())
    p, q = net(X).softmax(1).detach(), net(moved).softmax(1)
    wanted = (p * (p.log() - q.log())).sum(1).mean()
    found = vat_loss(net, X, eps=0.7, generator=stream())
    torch.testing.assert_close(found, wanted)
    parameters = list(net.parameters())
    for a, b in zip(torch.autograd.grad(found, parameters), torch.autograd.grad(wanted, parameters)):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(divergence(net, X, moved).mean(), wanted.detach())


def test_the_worst_direction_is_worse_than_chance(net):
    worst = divergence(net, X, virtual_adversarial(net, X, eps=0.5, iterations=5, generator=stream()))
    for number in range(20):
        assert worst.mean() > 1.5 * divergence(net, X, virtual_adversarial(net, X, eps=0.5, iterations=0, generator=stream(number))).mean()


def test_gradients_that_were_there_stay_and_the_new_ones_are_added(net):
    cost = F.cross_entropy(net(X), torch.arange(12) % 5)
    cost.backward()
    before = [p.grad.clone() for p in net.parameters()]
    loss = vat_loss(net, X, eps=0.7, generator=stream())
    assert all(torch.equal(p.grad, g) for p, g in zip(net.parameters(), before))
    own = torch.autograd.grad(loss, list(net.parameters()), retain_graph=True)
    loss.backward()
    for p, g, more in zip(net.parameters(), before, own):
        torch.testing.assert_close(p.grad, g + more)


@pytest.mark.parametrize("call", [lambda model: model, lambda model: lambda x: model(x)], ids=["module", "function"])
def test_buffers_and_mode_stay_and_the_graph_can_still_be_used(call):
    model = batch_norm_net().train()
    before, own = copy.deepcopy(model.state_dict()), dict(model.named_buffers())
    loss = vat_loss(call(model), X, eps=0.7, iterations=2)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(value is own[name] for name, value in model.named_buffers())
    assert all(part.training for part in model.modules())
    loss.backward()
    model(X)
    assert model[2].num_batches_tracked == 1


def test_buffers_come_back_after_an_error():
    model = batch_norm_net()
    own, fail = dict(model.named_buffers()), iter([False, True])

    def answer(x):
        logits = model(x)
        if next(fail):
            raise RuntimeError("stop")
        return logits

    with pytest.raises(RuntimeError, match="stop"):
        vat_loss(answer, X, eps=0.5)
    assert all(value is own[name] for name, value in model.named_buffers())


def test_dropout_is_the_same_in_all_passes():
    """At a tiny distance nothing but another dropout could make the answers differ."""
    model = batch_norm_net()
    assert vat_loss(model, X, eps=1e-4, generator=stream()) < 1e-4
    torch.manual_seed(5)
    p, q = (model(X).log_softmax(1) for _ in range(2))
    assert F.kl_div(q, p, reduction="batchmean", log_target=True) > 1e-2


def test_the_global_stream_moves_on_as_by_one_draw_and_one_pass():
    model = batch_norm_net()
    torch.manual_seed(3)
    model(X)
    wanted = torch.rand(1)
    torch.manual_seed(3)
    vat_loss(model, X, eps=0.5, generator=stream())
    assert torch.equal(torch.rand(1), wanted)
    torch.manual_seed(3)
    torch.randn(X.shape)
    model(X)
    wanted = torch.rand(1)
    torch.manual_seed(3)
    vat_loss(model, X, eps=0.5)
    assert torch.equal(torch.rand(1), wanted)
    torch.manual_seed(3)
    first, second = vat_loss(model, X, eps=0.5), vat_loss(model, X, eps=0.5)
    assert first != second, "fresh dropout and a fresh direction at every step"
    torch.manual_seed(3)
    assert vat_loss(model, X, eps=0.5) == first


@pytest.mark.parametrize("iterations", [0, 1])
@pytest.mark.parametrize("find", [
    lambda *a, **k: vat_loss(*a, eps=0.5, **k), lambda *a, **k: virtual_adversarial(*a, eps=0.5, **k), virtual_direction,
], ids=["loss", "point", "direction"])
def test_every_call_has_a_direction_of_its_own(net, find, iterations):
    """The net draws nothing: only the direction can move the stream on."""
    torch.manual_seed(3)
    found = [find(net, X, iterations=iterations).detach() for _ in range(3)]
    assert all((a != b).any() for a, b in zip(found, found[1:]))
    after = torch.rand(5)
    torch.manual_seed(3)
    for _ in range(3):
        torch.randn(X.shape)
    assert torch.equal(after, torch.rand(5))


def test_no_numbers_are_drawn_for_arguments_that_are_refused(net):
    before = torch.get_rng_state()
    for change in (dict(eps=-1.0), dict(xi=0.0), dict(iterations=-1)):
        with pytest.raises(ValueError):
            vat_loss(net, X, **{"eps": 0.5, **change})
    assert torch.equal(torch.get_rng_state(), before)


def test_a_generator_makes_it_repeatable(net):
    assert vat_loss(net, X, eps=0.5, generator=stream(7)) == vat_loss(net, X, eps=0.5, generator=stream(7))
    assert vat_loss(net, X, eps=0.5, generator=stream(7)) != vat_loss(net, X, eps=0.5, generator=stream(8))


def test_embedded_words_learn_through_the_perturbed_answer():
    torch.manual_seed(0)
    words, embed, read = torch.randint(20, (6, 9)), nn.Embedding(20, 8), nn.GRU(8, 10, batch_first=True)
    head = nn.Linear(10, 2)

    def model(e):
        return head(read(e)[0][:, -1])

    loss = vat_loss(model, embed(words), eps=1.0)
    loss.backward()
    assert embed.weight.grad.abs().sum() > 0
    moved = virtual_adversarial(model, embed(words), eps=1.0)
    torch.testing.assert_close(length(moved - embed(words).detach()), torch.ones(6, dtype=torch.float64), rtol=1e-3, atol=0)


class Watched(nn.GRU):
    """Knows whether cuDNN was to be used when it was asked."""

    def forward(self, *inputs):
        self.on_cudnn.append(torch.backends.cudnn.enabled)
        return super().forward(*inputs)


@pytest.mark.parametrize("train, dropout, used", [(False, 0.0, False), (True, 0.0, True), (True, 0.5, False)])
@pytest.mark.parametrize("call", [lambda net: net, lambda net: lambda e: net(e)], ids=["module", "function"])
def test_recurrent_nets_that_cudnn_cannot_serve_are_asked_without_it(call, train, dropout, used):
    """On a GPU cuDNN raises at the gradient of a recurrent net in eval mode; its dropout is another one in every pass."""
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.read, self.head = Watched(8, 10, num_layers=2, dropout=dropout, batch_first=True), nn.Linear(10, 2)
            self.read.on_cudnn = []

        def forward(self, e: torch.Tensor) -> torch.Tensor:
            return self.head(self.read(e)[0][:, -1])

    net, e = Reader().train(train), torch.randn(6, 9, 8)
    vat_loss(call(net), e, eps=1.0)
    virtual_adversarial(call(net), e, eps=1.0)
    divergence(call(net), e, e + 1)
    assert net.read.on_cudnn == [used] * (3 + 2 + 2) and torch.backends.cudnn.enabled


def test_nothing_is_read_from_the_device_for_a_plain_number(net, monkeypatch):
    """Each of these would make a step wait for a GPU."""
    def waits(*_args, **_more):
        pytest.fail("read from the device")

    for name in ("item", "__bool__", "__float__", "__int__", "__index__", "tolist", "numpy", "__array__", "cpu", "nonzero", "masked_select", "__contains__"):
        monkeypatch.setattr(torch.Tensor, name, waits)
    for iterations in (0, 1, 2):
        vat_loss(net, X, eps=0.5, iterations=iterations).backward()
    virtual_adversarial(net, X, eps=0.5)


def test_where_tensors_are_made_by_default_does_not_matter(net):
    everything = lambda: [  # noqa: E731
        vat_loss(net, X, eps=0.5, generator=stream()), virtual_adversarial(net, X, eps=torch.full((12,), 0.5, device="cpu"), generator=stream()),
        virtual_direction(net, X, iterations=2, generator=stream()), divergence(net, X, X.roll(1, 0)), entropy(net, X),
    ]
    wanted = everything()
    try:
        torch.set_default_device("meta")
        found = everything()
    finally:
        torch.set_default_device(None)
    assert all(torch.equal(a, b) for a, b in zip(found, wanted))


def test_without_gradients_there_is_a_value_and_no_graph(net):
    with torch.no_grad():
        loss = vat_loss(net, X, eps=0.7, generator=stream())
    assert not loss.requires_grad
    torch.testing.assert_close(loss, vat_loss(net, X, eps=0.7, generator=stream()).detach())


def test_entropy(net):
    p = net(X).softmax(1)
    torch.testing.assert_close(entropy(net, X), -(p * p.log()).sum(1).mean())
    assert math.isclose(entropy(lambda x: torch.zeros(len(x), 4), X).item(), math.log(4), rel_tol=1e-6)


@pytest.mark.parametrize("change, named", [
    (dict(eps=0), "eps"), (dict(eps=-1.0), "eps"), (dict(eps=float("nan")), "eps"), (dict(eps="1"), "eps"), (dict(eps=torch.ones(3)), "eps"),
    (dict(eps=torch.zeros(12)), "eps"), (dict(xi=0), "xi"), (dict(xi=-1e-6), "xi"), (dict(iterations=-1), "iterations"), (dict(iterations=1.5), "iterations"),
    (dict(x=torch.zeros(12, 16, dtype=torch.int64)), "x"), (dict(x=torch.zeros(12)), "x"), (dict(x=[[0.0]]), "x"), (dict(x=torch.zeros(0, 16)), "x"),
    (dict(model=3), "model"), (dict(model=lambda x: x.sum()), "model"), (dict(model=lambda x: x.flatten(1)[:, :1]), "model"),
    (dict(model=lambda x: x.detach().flatten(1)), "model")])
def test_bad_arguments_are_named(net, change, named):
    arguments = {"model": net, "x": X, "eps": 0.5, **change}
    with pytest.raises(ValueError, match=f"^{named}: expected"):
        vat_loss(arguments.pop("model"), arguments.pop("x"), **arguments)


def test_a_net_that_normalises_in_place_leaves_the_pictures_alone_and_costs_the_same():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    x = torch.rand(4, 1, 4, 4)
    before = x.clone()
    inside = lambda v: net(v.sub_(0.5).div_(0.2))  # noqa: E731
    outside = lambda v: net((v - 0.5) / 0.2)  # noqa: E731
    values = [vat_loss(model, x, eps=0.5, generator=torch.Generator().manual_seed(1)) for model in (inside, outside)]
    torch.testing.assert_close(*values, rtol=0, atol=0)
    assert torch.equal(x, before) and values[0] > 0
    assert (divergence(inside, x, x + 0.1) > 0).all() and torch.equal(x, before)
