"""Translation without pairs: the translator, the pool, the objective against its formula, what a step may change; outlines."""
from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from course_utils.data import load
from course_utils.gan import LEAST_SQUARES, MINIMAX, CycleNets, Pool, cycle_objective, cycle_step, metrics
from course_utils.gan.metrics import outline_judge as outline_module
from course_utils.models import PatchCritic, Translator, instance_norm
from course_utils.models.segmenter import Segmenter


class Shift(nn.Module):
    """x + by, by learnt: translators whose every value can be computed by hand."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = nn.Parameter(torch.tensor(by))

    def forward(self, x):
        return x + self.by


class MeanCritic(nn.Module):
    """A logit a picture: scale times the mean of the picture."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, x):
        return self.scale * x.flatten(1).mean(1)


def by_hand() -> CycleNets:
    shifts, scales = iter([0.25, -0.125]), iter([2.0, 3.0])
    return CycleNets(lambda: Shift(next(shifts)), lambda: MeanCritic(next(scales)))


def small() -> CycleNets:
    torch.manual_seed(0)
    return CycleNets(lambda: Translator(3, 4, 1), lambda: PatchCritic(3, 4, 1, instance_norm))


def state(net: nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in net.parameters()]


def same(before, after) -> bool:
    return all(torch.equal(a, b) for a, b in zip(before, after))


# --- the translator ----------------------------------------------------------------------------------------------

def test_a_translation_is_a_picture_of_the_same_shape_and_depends_on_the_input_alone():
    torch.manual_seed(0)
    G, x = Translator(), torch.rand(4, 3, 32, 32)
    y = G(x)
    assert y.shape == x.shape and 0 <= y.min() and y.max() <= 1
    assert torch.equal(G(x), y)
    torch.testing.assert_close(G(x[:1]), y[:1], msg="one picture's translation depends on the others of its batch")


def test_the_last_layer_sees_the_picture_itself():
    G, x = Translator(), torch.rand(2, 3, 32, 32)
    nn.init.zeros_(G.last.weight)
    nn.init.zeros_(G.last.bias)
    torch.testing.assert_close(G(x), torch.full_like(x, 0.5))
    for channel in range(3):
        G.last.weight.data[channel, 8 + channel, 2, 2] = 1.0  # behind the 8 maps: the picture's own channels
    torch.testing.assert_close(G(x), (torch.tanh(2 * x - 1) + 1) / 2)


def test_a_fresh_translator_leaves_nearly_everything_as_it_is():
    torch.manual_seed(0)
    x = torch.rand(8, 3, 32, 32)
    y = Translator()(x)
    assert (y - x).abs().mean() < 0.1 < (y - x.flip(0)).abs().mean()
    assert (y - (torch.tanh(2 * x - 1) + 1) / 2).abs().mean() < 0.05


def test_instance_norm_is_torchs():
    x, torchs = torch.randn(3, 5, 8, 8), nn.InstanceNorm2d(5, affine=True)
    torch.testing.assert_close(instance_norm(5)(x), torchs(x))


@pytest.mark.parametrize("arguments", [dict(channels=0), dict(width=1), dict(blocks=0), dict(width=2.5)])
def test_sizes_of_a_translator_are_checked(arguments):
    with pytest.raises(ValueError, match=f"^{next(iter(arguments))}: expected a whole number"):
        Translator(**arguments)


# --- the pool ----------------------------------------------------------------------------------------------------

def numbered(first: int, count: int) -> torch.Tensor:
    return torch.arange(first, first + count).float().view(-1, 1, 1, 1)


def test_a_pool_fills_up_first_and_hands_on_what_came():
    pool = Pool(6)
    assert torch.equal(pool.exchange(numbered(0, 4)), numbered(0, 4)) and len(pool) == 4
    assert torch.equal(pool.exchange(numbered(4, 2)), numbered(4, 2)) and len(pool) == 6


def test_a_full_pool_exchanges_about_half_and_loses_nothing():
    torch.manual_seed(0)
    pool, came, went = Pool(50), 0, []
    for _ in range(40):
        went.append(pool.exchange(numbered(came, 25)).flatten())
        came += 25
    later = torch.stack(went[2:])  # once it was full
    new = torch.arange(50, came).view(38, 25)
    kept = torch.stack(pool.state_dict()["kept"]).flatten()
    assert 0.4 < (later == new).float().mean() < 0.6
    assert (later < new).any() and len(pool) == 50
    everything = torch.cat([*went[2:], kept]).sort().values
    assert torch.equal(everything, torch.arange(came).float()), "each picture is handed on once, or still there"


def test_a_pool_keeps_copies_without_graph():
    pool, x = Pool(2), torch.rand(2, 1, 2, 2, requires_grad=True)
    out = pool.exchange(2 * x)
    assert not out.requires_grad
    out.zero_()
    assert all(kept.any() for kept in pool.state_dict()["kept"])


def test_a_pool_goes_on_from_its_state():
    one, other = Pool(5), Pool(5)
    one.exchange(numbered(0, 5))
    other.load_state_dict(one.state_dict())
    results = []
    for pool in (one, other):
        torch.manual_seed(3)
        results.append(pool.exchange(numbered(10, 8)))
    assert torch.equal(*results)
    with pytest.raises(ValueError, match="^state: expected at most 2 pictures, got 5"):
        Pool(2).load_state_dict(one.state_dict())
    with pytest.raises(ValueError, match="^size: expected a whole number"):
        Pool(0)


# --- the objective -----------------------------------------------------------------------------------------------

def test_the_objective_is_the_formula():
    nets = by_hand()  # to_b adds 0.25, to_a takes 0.125; critic_a is 2 times the mean, critic_b 3 times
    a, b = torch.full((2, 3, 4, 4), 0.5), torch.full((2, 3, 4, 4), 0.75)
    fool = (3 * 0.75 - 1) ** 2 / 2 + (2 * 0.625 - 1) ** 2 / 2
    back = 0.125 + 0.125  # a: 0.5 + 0.25 - 0.125; b: 0.75 - 0.125 + 0.25
    for weight in (0.0, 3.0, 10.0):
        value, fake_a, fake_b = cycle_objective(nets, a, b, weight)
        assert value.item() == pytest.approx(fool + weight * back)
        torch.testing.assert_close(fake_a, b - 0.125)
        torch.testing.assert_close(fake_b, a + 0.25)
    assert cycle_objective(nets, a, b, 0.0, MINIMAX)[0].item() != pytest.approx(fool)


def test_translators_that_undo_each_other_pay_nothing_for_the_cycle():
    nets = by_hand()
    nets.to_a.by.data.fill_(-0.25)
    a, b = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    free, _, _ = cycle_objective(nets, a, b, 0.0)
    torch.testing.assert_close(cycle_objective(nets, a, b, 1000.0)[0], free, atol=1e-4, rtol=1e-4)


def test_a_negative_weight_is_refused():
    with pytest.raises(ValueError, match="^weight: expected a number of at least 0, got -1"):
        cycle_objective(by_hand(), torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4), -1)


# --- a step ------------------------------------------------------------------------------------------------------

def test_a_step_is_one_gradient_step_of_each_side_by_hand():
    nets, lr = by_hand(), 0.1
    other = copy.deepcopy(nets)
    a, b = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    opts = [torch.optim.SGD(p, lr) for p in (nets.translators(), nets.critics())]
    d_loss, g_loss = cycle_step(nets, *opts, (Pool(), Pool()), a, b, weight=2.0)

    value, fake_a, fake_b = cycle_objective(other, a, b, 2.0)
    grads = torch.autograd.grad(value, other.translators())
    torch.testing.assert_close(g_loss, value.detach())
    fake_a, fake_b = fake_a.detach(), fake_b.detach()  # made before the translators moved
    half = (LEAST_SQUARES.for_critic(other.critic_a(a), other.critic_a(fake_a)) + LEAST_SQUARES.for_critic(other.critic_b(b), other.critic_b(fake_b))) / 2
    grads += torch.autograd.grad(half, other.critics())
    torch.testing.assert_close(d_loss, half.detach())
    for after, before, grad in zip(nets.translators() + nets.critics(), other.translators() + other.critics(), grads):
        torch.testing.assert_close(after.detach(), before.detach() - lr * grad)


def test_each_optimiser_moves_its_own_nets_only():
    a, b = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16)
    for moving in ("translators", "critics"):
        nets = small()
        rates = {name: 0.1 if name == moving else 0.0 for name in ("translators", "critics")}
        before = {name: [p.detach().clone() for p in getattr(nets, name)()] for name in rates}
        cycle_step(nets, *(torch.optim.SGD(getattr(nets, name)(), rate) for name, rate in rates.items()), (Pool(), Pool()), a, b)
        for name in rates:
            assert same(before[name], [p.detach() for p in getattr(nets, name)()]) is (name != moving)


def test_no_gradient_of_the_translators_step_is_left_in_the_critics():
    nets = small()
    opt_g = torch.optim.SGD(nets.translators(), 0.1)
    opt_d = torch.optim.SGD(nets.critics(), 0.0)
    opt_d.zero_grad = lambda *_: None  # would hide it
    a, b = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16)
    seen = []
    opt_g.register_step_pre_hook(lambda *_: seen.append([p.grad for p in nets.critics()]))
    cycle_step(nets, opt_g, opt_d, (Pool(), Pool()), a, b)
    assert all(grad is None for grad in seen[0]) and all(p.requires_grad for p in nets.critics())


def test_the_critics_see_what_the_pools_hand_on():
    class Always(Pool):
        def exchange(self, pictures):
            return torch.zeros_like(pictures.detach())

    nets = by_hand()
    a = b = torch.rand(2, 3, 4, 4)
    opts = [torch.optim.SGD(p, 0.0) for p in (nets.translators(), nets.critics())]
    d_loss, _ = cycle_step(nets, *opts, (Always(), Always()), a, b)
    zero = torch.zeros_like(a)
    expected = (LEAST_SQUARES.for_critic(nets.critic_a(a), nets.critic_a(zero)) + LEAST_SQUARES.for_critic(nets.critic_b(b), nets.critic_b(zero))) / 2
    torch.testing.assert_close(d_loss, expected.detach())


def test_training_learns_a_translation_and_its_way_back():
    """Dark pictures with a bright square, and bright ones with a dark square: unpaired, learnt in a few steps."""
    torch.manual_seed(0)
    squares = torch.zeros(64, 3, 16, 16)
    for picture, (i, j) in zip(squares, torch.randint(1, 9, (64, 2)).tolist()):
        picture[:, i : i + 6, j : j + 6] = 1.0
    a, b = 0.2 + 0.5 * squares[:32], 0.8 - 0.5 * squares[32:]
    nets = CycleNets(lambda: Translator(3, 8, 1), lambda: PatchCritic(3, 8, 1, instance_norm))
    opts = [torch.optim.Adam(p, 2e-3, betas=(0.5, 0.999)) for p in (nets.translators(), nets.critics())]
    pools = Pool(), Pool()

    before = (a.mean() - b.mean()).abs().item()
    for _ in range(160):  # they begin as nearly the identity: the first steps change little
        cycle_step(nets, *opts, pools, a[torch.randint(32, (8,))], b[torch.randint(32, (8,))])
    with torch.no_grad():
        there = nets.to_b(a)
        back = nets.to_a(there)
    assert (there.mean() - b.mean()).abs() < before / 2
    assert (back - a).abs().mean() < (there - a).abs().mean() / 4  # the way back undoes most of what was changed


# --- outlines ----------------------------------------------------------------------------------------------------

def test_overlap_is_intersection_over_union():
    full, half, none = torch.ones(1, 1, 4, 4, dtype=torch.bool), torch.zeros(1, 1, 4, 4, dtype=torch.bool), torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    half[..., :2] = True
    quarter = half.clone()
    quarter[..., 2:, :] = False
    pairs = [(full, full, 1.0), (full, half, 0.5), (half, ~half, 0.0), (quarter, half, 0.5), (none, none, 1.0), (none, half, 0.0)]
    for found, true, wanted in pairs:
        assert metrics.overlap(found, true).tolist() == [wanted] == metrics.overlap(true, found).tolist()
    assert metrics.overlap(torch.cat([full, none]), torch.cat([half, half])).tolist() == [0.5, 0.0]


def test_overlap_refuses_other_types_and_shapes():
    area = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    with pytest.raises(ValueError, match="^found, true: expected dtype torch.bool"):
        metrics.overlap(area.float(), area)
    with pytest.raises(ValueError, match="^true: expected the shape"):
        metrics.overlap(area, area[..., :2])


def test_a_segmenter_gives_a_logit_a_pixel_and_looks_at_each_picture_by_itself():
    net, x = Segmenter(3, 4).eval(), torch.rand(3, 3, 32, 32)
    assert net(x).shape == (3, 1, 32, 32)
    torch.testing.assert_close(net(x)[1:2], net(x[1:2]))


def test_the_judge_of_outlines_learns_and_is_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(outline_module, "_STEPS", 60)
    outline_module.outline_net.cache_clear()
    try:
        test = load("horses", split="test").take(60)
        found = metrics.outline("horses", test.images)
        assert metrics.overlap(found, test.masks > 0.5).mean() > 0.8 > metrics.overlap(found.roll(1, 0), test.masks > 0.5).mean()
        assert len(list((tmp_path / "judges").iterdir())) == 1
        outline_module.outline_net.cache_clear()
        monkeypatch.setattr(outline_module, "_train", lambda *_, **__: pytest.fail("trained a second time"))
        assert torch.equal(metrics.outline("horses", test.images), found)
        with pytest.raises(ValueError, match="^pictures: expected the shape"):
            metrics.outline("horses", test.images[..., :16])
    finally:
        outline_module.outline_net.cache_clear()


@pytest.mark.parametrize("name", ["seasons", "digits"])
def test_data_without_outlines_are_refused(name):
    with pytest.raises(ValueError, match="^name: expected"):
        metrics.outline_net(name)
