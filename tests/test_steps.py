"""What holds for every training step: the forms of a critic's answers, nets that work in place, no wait for a GPU."""
from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.functional import softplus
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from course_utils.gan import (
    HINGE, NON_SATURATING, Balance, CycleNets, GradientPenalty, NearMisses, Pool, ReconstructionError, began_step,
    conditional_step, critic_step, cycle_step, gan_step, gaussian, gradient_norm, minimax_value, regression_step, text_step,
    translate_step, uniform,
)
from course_utils.gan.call import in_rows
from course_utils.models import (
    Colouring, ConditionalCritic, ConditionalGenerator, DCCritic, DCGenerator, FCAutoEncoder, PatchCritic, Stack, TextCritic,
    TextEncoder, TextGenerator, Translator, UNet, footprint, mlp, mlp_critic,
)

GREY, COLOUR = (1, 8, 8), (3, 8, 8)
Wrap = Callable[[nn.Module], nn.Module]


class Answer(nn.Module):
    """``net`` with ``ones`` axes of length 1 behind its answers: (B,) becomes (B, 1), (B, 1, 1, 1)."""

    def __init__(self, net: nn.Module, ones: int) -> None:
        super().__init__()
        self.net, self.ones = net, ones

    def _shaped(self, out: torch.Tensor) -> torch.Tensor:
        return out.view(*out.shape, *[1] * self.ones)

    def forward(self, *inputs):
        return self._shaped(self.net(*inputs))

    def look(self, x):
        return self.net.look(x)

    def match(self, seen, code):
        return self._shaped(self.net.match(seen, code))


class Halved(nn.Module):
    """``net`` of half its inputs, halved in place or not."""

    def __init__(self, net: nn.Module, in_place: bool) -> None:
        super().__init__()
        self.net, self.in_place = net, in_place

    def _half(self, *inputs):
        floats = [x.is_floating_point() for x in inputs]
        return [x.mul_(0.5) if f and self.in_place else x * 0.5 if f else x for x, f in zip(inputs, floats)]

    def forward(self, *inputs):
        return self.net(*self._half(*inputs))

    def look(self, x):
        return self.net.look(*self._half(x))

    def match(self, seen, code):
        return self.net.match(seen, code)


class Joined(nn.Module):
    """A critic of pairs of pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.net = DCCritic((4, 8, 8), 2)

    def forward(self, a, b):
        return self.net(torch.cat([a, b], dim=1))


def sgd(*nets) -> torch.optim.Optimizer:
    return torch.optim.SGD([p for net in nets for p in net.parameters()], 0.1)


def plain(data, wrap_g: Wrap, wrap_d: Wrap, G: nn.Module, D: nn.Module, **how):
    G, D = wrap_g(G), wrap_d(D)
    x, z = data
    return (G, D), lambda: gan_step(G, D, sgd(G), sgd(D), lambda: x, lambda: z, loss=HINGE, **how)


def on_pictures(data, wrap_g, wrap_d, **how):
    return plain(data, wrap_g, wrap_d, DCGenerator(4, GREY, 2), DCCritic(GREY, 2, norm=lambda maps: nn.Identity()), **how)


def on_points(data, wrap_g, wrap_d, **how):
    return plain(data, wrap_g, wrap_d, mlp([3, 4, 2]), mlp_critic([2, 4], nn.Tanh), **how)


def on_stacks(data, wrap_g, wrap_d, **how):
    nets = [mlp([3, 4, 2]) for _ in range(3)], [mlp_critic([2, 4], nn.Tanh) for _ in range(3)]
    return plain(data, wrap_g, wrap_d, *map(Stack, nets), **how)


def conditional(data, wrap_g, wrap_d):
    G, D = wrap_g(ConditionalGenerator(4, 3, GREY, 2)), wrap_d(ConditionalCritic(3, GREY, 2))
    x, y, z = data
    return (G, D), lambda: conditional_step(G, D, sgd(G), sgd(D), lambda: (x, y), lambda: z)


def translation(data, wrap_g, wrap_d):
    G, D = wrap_g(UNet(1, 3, 2, 2)), wrap_d(Joined())
    return (G, D), lambda: translate_step(G, D, sgd(G), sgd(D), *data)


def regression(data, wrap_g, _wrap_d):
    G = wrap_g(UNet(1, 3, 2, 2))
    return (G,), lambda: (regression_step(G, sgd(G), *data),)


def cycle(data, wrap_g, wrap_d):
    nets = CycleNets(lambda: wrap_g(Translator(3, 2, 1)), lambda: wrap_d(DCCritic(COLOUR, 2)))
    pools = Pool(2), Pool(2)
    opts = [torch.optim.SGD(parts, 0.1) for parts in (nets.translators(), nets.critics())]
    return (nets,), lambda: cycle_step(nets, *opts, pools, *data)


def text(data, wrap_g, wrap_d):
    G, D, E = wrap_g(TextGenerator(4, 6, COLOUR, 2)), wrap_d(TextCritic(6, COLOUR, 2)), TextEncoder(9, 6)
    return (G, D, E), lambda: text_step(G, D, E, sgd(G), sgd(D, E), *data)


def began(data, wrap_g, wrap_d):
    G, D = wrap_g(DCGenerator(4, GREY, 2)), wrap_d(ReconstructionError(FCAutoEncoder(GREY, 2, 4)))
    balance = Balance(0.5, 0.1, device=data[0].device)
    return (G, D), lambda: began_step(G, D, sgd(G), sgd(D), *data, balance)


B = 5
SAMPLES = {"pictures": ((B, *GREY), (B, 4)), "points": ((B, 2), (B, 3)), "stacks": ((3, B, 2), (3, B, 3))}
GANS = {"pictures": on_pictures, "points": on_points, "stacks": on_stacks}
OTHERS = {"conditional": conditional, "translation": translation, "regression": regression, "cycle": cycle, "text": text, "began": began}
STEPS = {**GANS, **OTHERS}


def minibatch(name: str) -> list[torch.Tensor]:
    """What the step is given, fresh and always the same."""
    stream = torch.Generator().manual_seed(1)
    rand = lambda *shape: torch.rand(*shape, generator=stream)  # noqa: E731
    whole = lambda low, high, *shape: torch.randint(low, high, shape, generator=stream)  # noqa: E731
    if name in SAMPLES:
        return [rand(*shape) for shape in SAMPLES[name]]
    return {
        "conditional": lambda: [rand(B, *GREY), whole(0, 3, B), rand(B, 4)],
        "translation": lambda: [rand(B, *GREY), rand(B, *COLOUR)], "regression": lambda: [rand(B, *GREY), rand(B, *COLOUR)],
        "cycle": lambda: [rand(B, *COLOUR), rand(B, *COLOUR)],
        "text": lambda: [rand(B, *COLOUR), whole(1, 10, B, 3), whole(1, 10, 2, B, 3), rand(B, 4)],
        "began": lambda: [rand(B, *GREY), rand(B, 4), rand(B, 4)],
    }[name]()


def played(name: str, wrap_g: Wrap, wrap_d: Wrap, data: list[torch.Tensor] | None = None, **how) -> list[torch.Tensor]:
    """The losses of one step and all weights after it."""
    torch.manual_seed(0)
    nets, step = STEPS[name](minibatch(name) if data is None else data, wrap_g, wrap_d, **how)
    losses = step()
    return [*losses, *(weight.detach() for net in nets for weight in net.parameters())]


def as_it_is(net: nn.Module) -> nn.Module:
    return net


def same(a, b) -> bool:
    return len(a) == len(b) and all(torch.equal(one, other) for one, other in zip(a, b))


# --- the form of a critic's answers --------------------------------------------------------------------------------

HOW = {"plain": {}, "together": {"together": True}, "reuse": {"reuse": True}, "penalty": {"penalty": GradientPenalty(10.0)},
       "all": {"together": True, "reuse": True, "penalty": GradientPenalty(10.0), "k": 2}}


@pytest.mark.parametrize("ones", [1, 3])
@pytest.mark.parametrize("name, how", [("pictures", "all"), *((name, how) for name in ("points", "stacks") for how in HOW)])
def test_a_column_of_answers_trains_as_a_row_bit_for_bit(name, how, ones):
    assert same(played(name, as_it_is, lambda D: Answer(D, ones), **HOW[how]), played(name, as_it_is, as_it_is, **HOW[how]))


@pytest.mark.parametrize("name", [name for name in OTHERS if name != "regression"])
def test_so_it_does_in_every_other_step(name):
    assert same(played(name, as_it_is, lambda D: Answer(D, 3)), played(name, as_it_is, as_it_is))


class Patches(nn.Module):
    """Two answers a picture, 3 times the mean of its upper half and -1 times that of the lower: (B, 1, 2, 1), or in a row."""

    def __init__(self, row: bool = False) -> None:
        super().__init__()
        self.slopes, self.row = nn.Parameter(torch.tensor([3.0, -1.0])), row

    def forward(self, x):
        halves = x.mean(dim=(1, 3)).unflatten(1, (2, -1)).mean(dim=2)  # (B, 2)
        out = self.slopes * halves
        return out.flatten() if self.row else out[:, None, :, None]


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("row", [False, True])
def test_the_loss_of_a_map_is_the_mean_over_its_patches(row, together):
    x, z = torch.full((2, 1, 4, 4), 0.5), torch.full((2, 1, 4, 4), 0.25)
    G = nn.Conv2d(1, 1, 1)
    nn.init.constant_(G.weight, 1.0)
    nn.init.zeros_(G.bias)
    D = Patches(row)
    on_real, on_fake = torch.tensor([1.5, -0.5]), torch.tensor([0.75, -0.25])
    value = critic_step(G, D, sgd(D), x, z, NON_SATURATING, together=together)
    torch.testing.assert_close(value, softplus(-on_real).mean() + softplus(on_fake).mean())
    # each slope: half the weight, times the mean of its half, times the slope of softplus
    wanted = (-(1 - on_real.sigmoid()) * 0.5 + on_fake.sigmoid() * 0.25) / 2
    torch.testing.assert_close(D.slopes.detach(), torch.tensor([3.0, -1.0]) - 0.1 * wanted)


@pytest.mark.parametrize("row", [False, True])
def test_the_gradient_of_a_map_is_that_of_the_mean_over_its_patches(row):
    x = torch.rand(5, 1, 4, 4)
    length = (8 * (3 / 16) ** 2 + 8 * (1 / 16) ** 2) ** 0.5  # each half has 8 pixels; the mean halves both slopes
    torch.testing.assert_close(gradient_norm(Patches(row), x), torch.full((5,), length))
    torch.testing.assert_close(GradientPenalty(10.0)(Patches(row), x, x.flip(0)), torch.tensor(10 * (length - 1) ** 2))


@pytest.mark.parametrize("ones", [0, 1, 3])
@pytest.mark.parametrize("name", GANS)
def test_slopes_and_penalty_do_not_depend_on_the_form(name, ones):
    torch.manual_seed(0)
    x, z = minibatch(name)
    _, D = STEPS[name]((x, z), as_it_is, as_it_is)[0]
    lengths = gradient_norm(Answer(D, ones), x)
    assert lengths.shape == x.shape[: 2 if name == "stacks" else 1] and torch.equal(lengths, gradient_norm(D, x))
    penalties = []
    for critic in (D, Answer(D, ones)):
        torch.manual_seed(1)
        penalties.append(GradientPenalty()(critic, x, x.flip(0)))
    assert torch.equal(*penalties)


def test_a_patch_critic_that_answers_a_map_trains_as_the_one_with_a_row():
    class Map(PatchCritic):
        def forward(self, *pictures):
            return self.judge(*pictures)

    found = []
    for kind in (PatchCritic, Map):
        torch.manual_seed(0)
        G, D = UNet(1, 3, 2, 2), kind(4, 2, 1, nn.Identity)
        losses = translate_step(G, D, sgd(G), sgd(D), *minibatch("translation"))
        found.append([*losses, *G.parameters(), *D.parameters()])
    assert same(*found)


@pytest.mark.parametrize("samples, out, expected", [
    ((5, 1, 8, 8), (1,), r"\(5, …\), got the shape \(1,\)"), ((5, 1, 8, 8), (), r"\(5, …\), got the shape \(\)"),
    ((5, 2), (4,), r"\(5, …\), got the shape \(4,\)"), ((5, 2), (4, 1), r"\(5, …\), got the shape \(4, 1\)"),
    ((5, 2), (4, 5), r"\(5, …\), got the shape \(4, 5\)"),
    ((3, 5, 2), (3,), r"\(3, 5, …\), got the shape \(3,\)"), ((3, 5, 2), (15,), r"\(3, 5, …\), got the shape \(15,\)"),
    ((3, 5, 2), (5, 3), r"\(3, 5, …\), got the shape \(5, 3\)"), ((3, 5, 2), (3, 1), r"\(3, 5, …\), got the shape \(3, 1\)"),
])
def test_answers_that_fit_no_samples_are_refused(samples, out, expected):
    with pytest.raises(ValueError, match=r"^D: expected an answer or a map of patches for each sample, " + expected):
        in_rows(torch.zeros(out), torch.zeros(samples))


def test_answers_that_are_no_tensor_are_refused():
    with pytest.raises(ValueError, match="^D: expected a torch.Tensor of answers, got tuple"):
        in_rows((torch.zeros(5),), torch.zeros(5, 2))


@pytest.mark.parametrize("shape", [(5, 1), (5, 1, 1, 1), (5, 1, 3, 3), (5, 1, 3), ()])
def test_a_loss_alone_takes_rows_only(shape):
    row, other = torch.zeros(5), torch.zeros(shape)
    for name, call in (("on_real", lambda: HINGE.for_critic(other, row)), ("on_fake", lambda: HINGE.for_critic(row, other)),
                       ("on_fake", lambda: HINGE.for_generator(other)), ("on_real", lambda: minimax_value(other, row)),
                       ("on_fake", lambda: minimax_value(row, other))):
        with pytest.raises(ValueError, match=rf"^{name}: expected the shape \(B,\), or \(runs, B\) with B above 1"):
            call()


@pytest.mark.parametrize("together", [False, True])
def test_one_real_minibatch_serves_all_runs_of_a_stack(together):
    x, z = minibatch("stacks")
    alone, shared = (played("stacks", as_it_is, as_it_is, [some, z], together=together) for some in (x[:1].expand_as(x), x[0]))
    assert same(alone, shared)


class FromMaps(nn.Module):
    """A generator that takes z as maps (B, d, 1, 1), as most published ones do."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, z):
        return self.net(z.flatten(1))


@pytest.mark.parametrize("together", [False, True])
def test_noise_may_be_maps(together):
    x, z = minibatch("pictures")
    rows, maps = (played("pictures", wrap, as_it_is, [x, some], together=together)
                  for wrap, some in ((as_it_is, z), (FromMaps, z[:, :, None, None])))
    assert same(rows, maps)


# --- nets that work in place ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STEPS)
def test_a_step_leaves_the_minibatch_alone_when_its_nets_work_in_place(name):
    data = minibatch(name)
    in_place = played(name, lambda G: Halved(G, True), lambda D: Halved(D, True), data)
    assert same(data, minibatch(name))
    torch.testing.assert_close(in_place, played(name, lambda G: Halved(G, False), lambda D: Halved(D, False)))


@pytest.mark.parametrize("how", HOW)
def test_so_does_every_way_of_the_plain_step(how):
    data = minibatch("points")
    in_place = played("points", lambda G: Halved(G, True), lambda D: Halved(D, True), data, **HOW[how])
    assert same(data, minibatch("points"))
    torch.testing.assert_close(in_place, played("points", lambda G: Halved(G, False), lambda D: Halved(D, False), **HOW[how]))


def test_a_penalty_of_ones_own_gets_copies():
    def penalty(D, x, fake):
        return D(x.mul_(0)).sum() + D(fake.mul_(0)).sum()

    data = minibatch("points")
    played("points", as_it_is, as_it_is, data, penalty=penalty, reuse=True)
    assert same(data, minibatch("points"))


def test_slopes_of_a_critic_that_works_in_place():
    x, D = torch.rand(5, 2), mlp_critic([2, 4], nn.Tanh)
    before = x.clone()
    torch.testing.assert_close(gradient_norm(Halved(D, True), x), gradient_norm(Halved(D, False), x))
    assert torch.equal(x, before)


def test_the_error_of_an_auto_encoder_that_works_in_place_is_that_of_the_sample():
    x, net = torch.rand(5, 2), mlp([2, 2])
    torch.testing.assert_close(ReconstructionError(Halved(net, True))(x), ReconstructionError(Halved(net, False))(x))


# --- no wait for a GPU, no device of one's own ---------------------------------------------------------------------

# Tensors on the device "meta" have no numbers: item, bool, tolist, cpu, numpy, nonzero and indexing by truth values raise,
# and so does what meets a tensor of the CPU. A step that runs there reads nothing from a GPU.


def on_meta(data: list[torch.Tensor]) -> list[torch.Tensor]:
    return [x.to("meta") for x in data]


class Made(TorchFunctionMode):
    """Counts the tensors made of Python's or numpy's numbers, which lie on the CPU before they lie elsewhere."""

    count = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.count += function in (torch.tensor, torch.as_tensor, torch.from_numpy, torch.Tensor.new_tensor)
        return function(*args, **(kwargs or {}))


class Copies(TorchDispatchMode):
    """Counts the tensors of the CPU that are copied to another device."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if function in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default):
            source = args[0] if function is torch.ops.aten._to_copy.default else args[1]
            self.count += source.device.type == "cpu" != out.device.type
        return out


def to_meta(net: nn.Module) -> nn.Module:
    return net.to("meta")


@pytest.mark.parametrize("name", STEPS)
def test_no_step_reads_a_number_or_copies_one_over(name):
    torch.manual_seed(0)
    nets, step = STEPS[name](on_meta(minibatch(name)), to_meta, to_meta)
    for net in nets:
        net.to("meta")
    with Made() as made, Copies() as copies:
        for _ in range(2):  # the pools of the cycle are full at the second step
            step()
    assert copies.count == made.count == 0


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("name", ["points", "stacks"])
def test_no_way_of_the_plain_step_does(name, how):
    torch.manual_seed(0)
    _, step = STEPS[name](on_meta(minibatch(name)), to_meta, to_meta, **HOW[how])
    with Made() as made, Copies() as copies:
        step()
    assert copies.count == made.count == 0


def test_colouring_copies_nothing_over_either():
    net, given = Colouring(2, depth=2).to("meta"), torch.rand(2, 1, 8, 8, device="meta")
    with Made() as made, Copies() as copies:
        net(given).sum().backward()
    assert copies.count == made.count == 0


@pytest.mark.parametrize("draw", [gaussian, uniform])
def test_noise_without_a_generator_is_drawn_where_it_is_wanted(draw):
    with Made() as made, Copies() as copies:
        assert draw(4, 3, device="meta").device.type == "meta"
    assert copies.count == made.count == 0
    draws = [draw(4, 3, generator=torch.Generator().manual_seed(3), device=device) for device in (None, "cpu")]
    assert torch.equal(*draws)


def test_near_misses_of_rows_on_the_cpu_stay_there_whatever_the_default_device():
    attributes = {"shape": torch.arange(12) % 3, "colour": torch.arange(12) // 3}
    rows, found = torch.arange(12), []
    for device in ("cpu", "meta"):
        torch.manual_seed(0)
        with torch.device(device):
            found.append(NearMisses(attributes).differing_in("shape", rows))
    assert torch.equal(*found) and (attributes["shape"][found[0]] != attributes["shape"]).all()


def test_a_pool_draws_on_the_cpu_whatever_the_default_device():
    handed_on = []
    for device in ("cpu", "meta"):
        torch.manual_seed(0)
        pool = Pool(3)
        with torch.device(device):
            handed_on.append(torch.cat([pool.exchange(torch.arange(8.0, device="cpu").view(8, 1, 1, 1)) for _ in range(3)]))
    assert torch.equal(*handed_on)


def test_a_pool_from_a_checkpoint_goes_on_where_the_pictures_are():
    before, after = Pool(4), Pool(4)
    before.exchange(torch.rand(4, 1, 2, 2))
    after.load_state_dict(before.state_dict())  # checkpoints are read on the CPU
    torch.manual_seed(0)
    for _ in range(4):
        assert after.exchange(torch.rand(2, 1, 2, 2, device="meta")).device.type == "meta"
    assert {picture.device.type for picture in after.state_dict()["kept"]} == {"meta"}


def test_a_footprint_is_measured_on_the_cpu_whatever_the_default_device():
    critic = PatchCritic(1, 2, 1)
    seen = footprint(critic, 24)
    with torch.device("meta"):
        assert torch.equal(footprint(critic, 24), seen)
