"""The algorithm that notebook 01 writes out, held against the helper that later notebooks import."""
from __future__ import annotations


import pytest
import torch
from torch.nn.functional import logsigmoid

from course_utils.gan import MINIMAX, NON_SATURATING, gan_step, minimax_value
from course_utils.models import Stack, mlp, mlp_critic
from course_utils.training import loop
from notebook_cells import defined



@pytest.fixture
def cells() -> dict:
    """What the cells define that write out V, the step uphill and the algorithm."""
    names = {"torch": torch, "logsigmoid": logsigmoid, "loop": loop}
    return defined("01", ("value", "ascend", "train_gan"), names)


def test_v_is_the_helpers_value(cells):
    real, fake = torch.randn(3, 20), torch.randn(3, 20)
    torch.testing.assert_close(cells["value"](real, fake), minimax_value(real, fake))


def nets():
    torch.manual_seed(0)
    G, D = Stack([mlp([2, 8, 2]) for _ in range(2)]), Stack([mlp_critic([2, 8]) for _ in range(2)])
    return G, D, torch.optim.Adam(G.parameters(), 1e-2), torch.optim.Adam(D.parameters(), 2e-2)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("loss, objective", [(NON_SATURATING, logsigmoid), (MINIMAX, lambda logit: -logsigmoid(-logit))])
def test_the_written_out_algorithm_is_the_helpers_step(cells, k, loss, objective, monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path))
    steps, m = 7, 16
    numbers = torch.Generator().manual_seed(1)
    watched = torch.randn(2, 500, 2, generator=numbers)
    zs, xs = torch.randn(steps * (k + 1), 2, m, 2, generator=numbers), torch.randn(steps * k, 2, m, 2, generator=numbers)

    z, x = iter([watched, *zs]), iter(xs)
    G, D, opt_g, opt_d = nets()
    history = cells["train_gan"](G, D, opt_g, opt_d, lambda m: next(x), lambda m: next(z), steps, "written-out", k=k, m=m, objective=objective)
    written = [p.detach().clone() for net in (G, D) for p in net.parameters()]

    z, x = iter(zs), iter(xs)
    G, D, opt_g, opt_d = nets()
    cooling = [torch.optim.lr_scheduler.LinearLR(opt, 1, 0, steps) for opt in (opt_d, opt_g)]
    for _ in range(steps):
        d_loss, _ = gan_step(G, D, opt_g, opt_d, lambda: next(x), lambda: next(z), k=k, loss=loss)
        for schedule in cooling:
            schedule.step()
    torch.testing.assert_close(written, [p.detach() for net in (G, D) for p in net.parameters()])
    torch.testing.assert_close(-history["V"][-1].sum().float(), d_loss)  # V was logged: the loss before the last step


def test_an_interrupted_game_ends_as_an_uninterrupted_one(cells, monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(loop.__init__, "__kwdefaults__", {**loop.__init__.__kwdefaults__, "checkpoint_steps": 4})

    def play(stop_at=None):
        calls = {"n": 0}

        def data(m):
            calls["n"] += 1
            if calls["n"] == stop_at:
                raise KeyboardInterrupt
            return torch.randn(2, m, 2)

        G, D, opt_g, opt_d = nets()
        history = cells["train_gan"](G, D, opt_g, opt_d, data, lambda m: torch.randn(2, m, 2), 12, "interrupted")
        return [*G.parameters(), *D.parameters(), history["V"], *history.snapshots["samples"]]

    whole = play()
    with pytest.raises(KeyboardInterrupt):
        play(stop_at=7)
    assert all(torch.equal(a, b) for a, b in zip(whole, play()))
