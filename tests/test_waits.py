"""How often a step would wait for a GPU: counted without one, line by line, and none but those that an algorithm needs."""
from __future__ import annotations

import copy
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pytest
import torch
from fake_gpu import FakeGPU, a_gpu, is_real
from torch import Tensor, nn
from torch.nn import functional as F

from course_utils.attacks import Camera, expectation, lbfgs, pgd
from course_utils.data import ImageSet
from course_utils.gan import GradientPenalty, conditional_step, gan_step, gaussian, text_step
from course_utils.models import ConditionalCritic, ConditionalGenerator, ConvNet, TextCritic, TextEncoder, TextGenerator, mlp, mlp_critic
from course_utils.training import adam, fit, loop
from course_utils.vat import vat_loss

SHORT, LONG = 2, 6


@pytest.fixture
def gpu(monkeypatch, tmp_path) -> Iterator[FakeGPU]:
    """A GPU, a fake one as a rule, with checkpoints in a folder of its own."""
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("COURSE_STATIC", "1")
    torch.manual_seed(0)
    with warnings.catch_warnings(), a_gpu() as there:
        if not is_real():
            warnings.simplefilter("ignore")  # of checkpoints, which can't hold a fake tensor
        yield there


def waits(gpu: FakeGPU, run: Callable[[], object]) -> Counter[str]:
    """What ``run`` waited for: how often in each place, as 'attacks/pgd.py _Climber.climb: item, line 101'."""
    before = gpu.waits.copy()
    run()
    return gpu.waits - before


def per_step(gpu: FakeGPU, run: Callable[[int], object], short: int = SHORT, long: int = LONG) -> dict[str, float]:
    """What a step waits for, by place: the difference of ``long`` steps and ``short`` ones, so what costs once a call is left out."""
    first, then = waits(gpu, partial(run, short)), waits(gpu, partial(run, long))
    then.subtract(first)
    return {place: more / (long - short) for place, more in then.items() if more > 0}


def steps_of(step: Callable[[], object]) -> Callable[[int], None]:
    """``step`` so many times."""
    def run(count: int) -> None:
        for _ in range(count):
            step()
    return run


def functions(counted: dict[str, float]) -> dict[str, float]:
    """By function instead of by line: 'attacks/pgd.py _Climber.climb'."""
    found: Counter[str] = Counter()
    for place, number in counted.items():
        found[place.split(":")[0]] += number
    return dict(found)


# ---- the counter itself ------------------------------------------------------------------------------

WAITING = {
    "item": lambda x: x.sum().item(), "bool": lambda x: bool(x.sum() > 0), "float": lambda x: float(x[0]), "int": lambda x: int(x[0]),
    "tolist": lambda x: x.tolist(), "if any": lambda x: 1 if (x > 0).any() else 0, "nonzero": lambda x: x.nonzero(),
    "one of truth values": lambda x: x[x > 0], "put by truth values": lambda x: x.__setitem__(x >= 0, x.clone()),
    "masked_select": lambda x: x.masked_select(x > 0), "cpu": lambda x: x.cpu(), "to the CPU": lambda x: x.to("cpu"),
    "copied there": lambda x: torch.zeros(3).copy_(x), "copied here": lambda x: x.copy_(torch.zeros(3)),
    "made there, moved": lambda x: torch.zeros(3).to("cuda"), "like another": lambda x: torch.zeros(3).to(x), "cuda()": lambda x: torch.zeros(3).cuda(),
    "of a list": lambda x: torch.tensor([1.0], device="cuda"), "new of a list": lambda x: x.new_tensor([1.0]),
    "of numpy": lambda x: torch.from_numpy(np.zeros(3)).to(x.device), "indexed by the CPU's": lambda x: x[torch.tensor([0, 1])],
    "equal": lambda x: torch.equal(x, x), "allclose": lambda x: torch.allclose(x, x), "unique": lambda x: x.unique(),
    "a number put to one": lambda x: x.__setitem__(1, 2.0), "printed": lambda x: f"{x}", "solved": lambda x: torch.linalg.solve(torch.eye(3, device="cuda"), x),
}
FREE = {
    "computed": lambda x: (x * 2 + 1).clamp(0, 1).sum(), "made there": lambda x: torch.zeros(3, device="cuda"), "like x": torch.randn_like,
    "drawn there": lambda x: torch.randn(3, device=x.device), "indexed there": lambda x: x[torch.zeros(2, dtype=torch.int64, device="cuda")],
    "a number by truth values": lambda x: x.__setitem__(x > 0, 1.0), "where": lambda x: torch.where(x > 0, x, 0.0), "shape": lambda x: x.shape[0],
    "one by number": lambda x: x[1], "a number put": lambda x: x.__setitem__(slice(2), 2.0), "moved nowhere": lambda x: x.to("cuda"),
    "on the CPU": lambda x: torch.ones(3).sum().item(), "one hot": lambda x: F.one_hot(torch.ones(2, dtype=torch.int64, device="cuda"), 3),
}


@pytest.mark.parametrize("what", WAITING)
def test_what_waits_is_counted(gpu, what):
    x = torch.ones(3, device="cuda")
    counted = sum(waits(gpu, lambda: WAITING[what](x)).values())
    assert counted == 1 or is_real() and counted > 1


@pytest.mark.parametrize("what", FREE)
def test_what_does_not_wait_is_not_counted(gpu, what):
    x = torch.ones(3, device="cuda")
    assert waits(gpu, lambda: FREE[what](x)) == {}


def test_a_wait_is_named_by_the_line_of_the_course(gpu):
    from course_utils.validate import expect_in_box

    x = torch.ones(2, 3, device="cuda")
    (place, number), = waits(gpu, lambda: expect_in_box(x)).items()
    assert re.fullmatch(r"validate\.py \w+: [a-z ]+, line \d+", place) and number in (1, 2)


def test_values_and_gradients_are_those_of_the_cpu(gpu):
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))
    x, y = torch.rand(5, 1, 8, 8), torch.tensor([0, 1, 2, 0, 1])
    there, opt = copy.deepcopy(net).to("cuda"), None
    for model, where in ((net, "cpu"), (there, "cuda")):
        opt = adam(model.parameters())
        for _ in range(3):
            opt.zero_grad()
            F.cross_entropy(model(x.to(where)), y.to(where)).backward()
            opt.step()
    assert next(there.parameters()).device == torch.device("cuda", 0) == next(there.parameters()).grad.device
    for a, b in zip(net.state_dict().values(), there.state_dict().values()):
        torch.testing.assert_close(a, b.cpu(), rtol=0, atol=1e-2 if is_real() else 0)


# ---- trainings ---------------------------------------------------------------------------------------


def pictures(count: int) -> ImageSet:
    """Pictures (1, 8, 8) of three classes."""
    return ImageSet(torch.rand(count, 1, 8, 8), torch.arange(count) % 3, ("a", "b", "c"), "pictures")


def test_a_step_of_fit_waits_for_nothing(gpu):
    def run(steps: int) -> None:
        fit(ConvNet((1, 8, 8), 3), pictures(4 * steps), epochs=1, batch=4, device="cuda", progress=False, checkpoint_steps=10**6)

    assert per_step(gpu, run) == {}


def test_every_50_steps_and_every_epoch_fit_waits_as_it_says(gpu):
    def run(epochs: int) -> None:
        fit(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), pictures(200), epochs=epochs, batch=4, device="cuda", progress=False, checkpoint_steps=10**6)

    once = functions(per_step(gpu, run, 1, 2))
    assert once.pop("training/order.py EpochOrder.batch") == 1  # the order is drawn on the CPU: the same on every device
    assert once.keys() == {"training/history.py History.flush"} and once["training/history.py History.flush"] <= 2  # what was logged


def test_a_step_of_loop_with_the_log_waits_for_nothing(gpu):
    net = nn.Linear(2, 1).to("cuda")
    opt, x = adam(net.parameters()), torch.rand(5, 2, device="cuda")

    def run(steps: int) -> None:
        for _ in (run := loop(steps, "plain", keep=dict(net=net, opt=opt), checkpoint_steps=10**6, progress=False)):
            opt.zero_grad()
            loss = net(x).square().mean()
            loss.backward()
            opt.step()
            run.log(loss=loss, both=torch.stack([loss, loss]).detach())

    assert per_step(gpu, run) == {}


@pytest.mark.parametrize("settings", [{}, {"together": True}, {"reuse": True}, {"k": 2, "penalty": GradientPenalty()}])
def test_a_gan_step_waits_for_nothing(gpu, settings):
    G, D = mlp([2, 16, 2]).to("cuda"), mlp_critic([2, 16]).to("cuda")
    opts, x = [adam(net.parameters()) for net in (G, D)], torch.rand(8, 2, device="cuda")
    step = lambda: gan_step(G, D, *opts, lambda: x, lambda: gaussian(8, 2, device="cuda"), **settings)  # noqa: E731
    assert per_step(gpu, steps_of(step)) == {}


def test_a_conditional_step_waits_for_nothing(gpu):
    G, D = ConditionalGenerator(4, 3, (1, 8, 8), 8).to("cuda"), ConditionalCritic(3, (1, 8, 8), 8).to("cuda")
    opts, data = [adam(net.parameters()) for net in (G, D)], pictures(6).to("cuda")
    step = lambda: conditional_step(G, D, *opts, lambda: (data.images, data.labels), lambda: gaussian(6, 4, device="cuda"))  # noqa: E731
    assert per_step(gpu, steps_of(step)) == {}


def test_a_text_step_waits_for_nothing(gpu):
    G, D, E = (net.to("cuda") for net in (TextGenerator(4, 8, (3, 8, 8), 8), TextCritic(8, (3, 8, 8), 8), TextEncoder(20, 8)))
    opt_g, opt_d = adam(G.parameters()), adam([*D.parameters(), *E.parameters()])
    x, right = torch.rand(6, 3, 8, 8, device="cuda"), torch.randint(21, (6, 5), device="cuda")
    wrong = torch.stack([right.roll(1, 0), right.roll(2, 0)])
    step = lambda: text_step(G, D, E, opt_g, opt_d, x, right, wrong, gaussian(6, 4, device="cuda"))  # noqa: E731
    assert per_step(gpu, steps_of(step)) == {}


@pytest.mark.parametrize("iterations", [0, 1, 3])
def test_a_vat_loss_waits_for_nothing(gpu, iterations):
    net, x = ConvNet((1, 8, 8), 3).to("cuda"), torch.rand(6, 1, 8, 8, device="cuda")
    assert per_step(gpu, steps_of(lambda: vat_loss(net, x, eps=0.5, iterations=iterations).backward())) == {}


# ---- attacks -----------------------------------------------------------------------------------------


def victim() -> tuple[nn.Module, Tensor, Tensor]:
    """A net on the GPU, pictures and the labels that it gives them."""
    net, x = ConvNet((1, 8, 8), 3).to("cuda"), torch.rand(6, 1, 8, 8, device="cuda")
    return net, x, net(x).argmax(1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("targeted", [False, True])
def test_a_step_of_pgd_waits_for_nothing(gpu, norm, targeted):
    net, x, y = victim()
    run = lambda steps: pgd(net, x, (y + targeted) % 3, eps=0.01, norm=norm, steps=steps, targeted=targeted)  # noqa: E731
    assert per_step(gpu, run) == {}


def test_restarts_cost_a_step_no_wait(gpu):
    net, x, y = victim()
    assert per_step(gpu, lambda steps: pgd(net, x, y, eps=0.01, steps=steps, restarts=3)) == {}


def test_early_stop_waits_only_to_know_which_examples_still_stand(gpu):
    net, x, y = victim()
    counted = functions(per_step(gpu, lambda steps: pgd(net, x, y, eps=1e-6, steps=steps, early_stop=True)))
    assert counted == {"attacks/pgd.py _Climber.climb": 1}  # is anyone fooled? nobody is, within so little


def test_a_round_of_lbfgs_waits_twice_at_most(gpu):
    net, x, y = victim()
    rounds = {}

    def run(searches: int) -> None:
        rounds[searches] = lbfgs(net, x, y, targeted=False, searches=searches).gradients.max().item()

    first, then = waits(gpu, partial(run, 2)), waits(gpu, partial(run, 4))
    then.subtract(first)
    more = {place: number for place, number in then.items() if number}
    assert sum(more.values()) <= 2 * (rounds[4] - rounds[2]), more  # is anyone done with c; who is left


@pytest.mark.parametrize("repeats", [False, True])
def test_photographs_wait_for_nothing_but_what_is_drawn_on_the_cpu(gpu, repeats):
    """The same photographs on every device: numbers come from the CPU, and so do the corners' eight equations, in float64."""
    net, x, y = victim()
    seen = expectation(net, Camera(), draws=2, generator=torch.Generator().manual_seed(0) if repeats else None)
    counted = per_step(gpu, lambda steps: pgd(seen, x, y, eps=0.01, steps=steps))
    calls = len(x) if repeats else 1  # what repeats is drawn for each picture by itself
    assert is_real() or all(": to the GPU" in place for place in counted), counted
    assert functions(counted) == {"attacks/physical.py Camera.__call__": calls, "attacks/physical.py _seen_from": calls}
