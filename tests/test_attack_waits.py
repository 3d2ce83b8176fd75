"""What a step of an attack would wait for on a GPU: nothing but what the algorithm needs to know.

Tensors on "meta" have no values: whatever reads one (item, tolist, bool, nonzero, a mask as an index) raises an error.
Where an algorithm has to read something, reads are counted on the CPU.
"""
from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from course_utils.attacks import BALLS, Camera, cross_entropies, expectation, lbfgs, pgd, saliency
from course_utils.attacks.call import Lent, input_gradient
from course_utils.attacks.lbfgs import _Search
from course_utils.attacks.pgd import _Climber

ATEN = torch.ops.aten
READS = {ATEN._local_scalar_dense, ATEN.is_nonzero, ATEN.nonzero, ATEN.masked_select, ATEN.equal}
INDEXED = {ATEN.index, ATEN.index_put, ATEN.index_put_, ATEN._index_put_impl_}


class Reads(TorchDispatchMode):
    """Counts every operation that a GPU would have to be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        masked = func.overloadpacket in INDEXED and any(isinstance(one, torch.Tensor) and one.dtype == torch.bool for one in args[1])
        if masked or func.overloadpacket in READS:
            self.found.append(str(func))
        return func(*args, **kwargs or {})


def net(device: str = "cpu") -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 5)).to(device).eval()


def lent(device: str) -> Lent:
    found = Lent(net(device), 4)
    found.looked = True  # whether these are probabilities is read once a call
    return found


def on_meta(count: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand(count, 1, 8, 8, device="meta"), torch.zeros(count, dtype=torch.int64, device="meta")


def test_meta_tensors_and_the_counter_see_every_kind_of_read():
    x = on_meta()[0]
    for read in (torch.Tensor.item, torch.Tensor.tolist, bool, torch.nonzero, lambda x: x[x > 0], lambda x: x.masked_select(x > 0)):
        with pytest.raises((RuntimeError, NotImplementedError)):
            read(x.sum() if read in (torch.Tensor.item, bool) else x)
    x = torch.rand(3)
    for read in (lambda x: x.sum().item(), lambda x: bool(x.sum() > 0), torch.nonzero, lambda x: x[x > 0], lambda x: x.masked_select(x > 0)):
        with Reads() as reads:
            read(x)
        assert len(reads.found) >= 1
    with Reads() as reads:
        x[torch.tensor([0, 1])] = 2 * x[torch.tensor([1, 2])]
    assert not reads.found


@pytest.mark.parametrize("norm", BALLS)
@pytest.mark.parametrize("targeted", [False, True])
def test_no_step_of_pgd_waits_for_anything_and_no_restart(norm, targeted):
    x, y = on_meta()
    climber = _Climber(lent("meta"), BALLS[norm], cross_entropies, 3, targeted, False)
    eps = torch.full((6,), 0.1, device="meta")
    found = climber.best(x, y, eps, eps, [torch.zeros_like(x), torch.zeros_like(x)])
    assert found.shape == x.shape


def reads_of(attack, steps: int) -> int:
    torch.manual_seed(1)
    x, model = torch.rand(40, 1, 8, 8), net()
    y = model(x).argmax(1)
    with Reads() as reads:
        attack(model, x, y, steps=steps)
    return len(reads.found)


@pytest.mark.parametrize("norm, eps", [("linf", 0.02), ("l2", 0.2)])
def test_early_stop_reads_once_a_step_which_examples_still_stand(norm, eps):
    attack = partial(pgd, eps=eps, norm=norm)
    assert reads_of(attack, 12) == reads_of(attack, 4)
    assert reads_of(partial(attack, early_stop=True), 12) - reads_of(partial(attack, early_stop=True), 4) == 8


def test_half_precision_reads_once_a_step_whether_the_scale_was_too_large():
    model, x, y = net().half(), torch.rand(4, 1, 8, 8).half(), torch.zeros(4, dtype=torch.int64)
    borrowed = Lent(model)
    with Reads() as reads:
        input_gradient(borrowed, x, y)
    assert len(reads.found) == 1


def test_a_round_of_lbfgs_reads_once_which_examples_are_left(monkeypatch):
    rounds, whole = [], _Search.round
    monkeypatch.setattr(_Search, "round", lambda self: (rounds.append(len(reads.found)), whole(self)))
    torch.manual_seed(1)
    x, model = torch.rand(8, 1, 8, 8), net()
    with Reads() as reads:
        lbfgs(model, x, model(x).argmax(1), targeted=False, searches=3, steps=8)
    each = [after - before for before, after in zip(rounds, rounds[1:])]
    assert len(each) > 10 and max(each) == 1


def test_a_feature_of_the_saliency_map_reads_once_which_examples_are_left():
    attack = lambda model, x, y, steps: saliency(model, x, y, features=steps)  # noqa: E731
    assert reads_of(attack, 3) - reads_of(attack, 2) == 1


@pytest.mark.parametrize("channels", [1, 3])
def test_a_camera_reads_nothing_of_pictures_that_an_attack_holds(channels):
    x = torch.rand(3, channels, 9, 12, device="meta", requires_grad=True)
    seen = Camera()(x, torch.Generator().manual_seed(0))
    gradient, = torch.autograd.grad(seen.sum(), x)
    assert seen.device.type == gradient.device.type == "meta" and gradient.shape == x.shape


@pytest.mark.parametrize("generator", [None, torch.Generator()], ids=["fresh", "fixed"])
def test_an_expectation_over_photographs_reads_nothing(generator):
    x, y = on_meta(2)
    behind = expectation(net("meta"), Camera(), draws=2, generator=generator)
    behind.looked = True
    borrowed = Lent(behind)
    borrowed.looked = True
    assert input_gradient(borrowed, x, y)[0].shape == x.shape
