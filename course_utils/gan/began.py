"""BEGAN: the critic is an auto-encoder, its output how badly it reconstructs a sample, and a balance weighs the fakes.

Berthelot, Schumm and Metz 2017. The auto-encoder learns to reconstruct real samples and not to reconstruct fake ones,
the generator to make samples that are reconstructed well.
"""
from __future__ import annotations

import torch
from torch import Tensor, nn

from course_utils.gan.call import ask, critic_output
from course_utils.gan.step import frozen
from course_utils.validate import expect, expect_positive


class ReconstructionError(nn.Module):
    """A critic made of an auto-encoder: the mean absolute error of a sample's reconstruction, L(v) in the paper (eta = 1).

    ``net`` gives back the shape that it gets: pictures (B, C, H, W) -> (B,), or points (B, d) -> (B,), and
    (runs, B, d) -> (runs, B) in a stack. 0 is a perfect reconstruction; unlike a logit it is low for what looks real.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return (x - ask(self.net, x)).abs().mean(dim=(1, 2, 3) if x.ndim == 4 else -1)


class Balance:
    """The weight k of the fakes in the critic's loss, steered so that E L(G(z)) stays ``gamma`` times E L(x), for each run.

    ``k``      (runs,) or (), in [0, 1], 0 at the start (section 3.4, equation 9)
    ``gamma``  the diversity ratio, in (0, 1]: small for clean pictures, large for varied ones
    ``rate``   how fast k moves; 0.001 in the paper, whose trainings are hundreds of times as long as the course's

    Give it to ``loop(keep=...)``: it has a state. Raises ValueError for gamma outside (0, 1] or a rate not above 0.
    """

    def __init__(self, gamma: float, rate: float, runs: int | None = None, device: torch.device | str | None = None) -> None:
        expect_positive(gamma, "gamma")
        expect(gamma <= 1, "gamma", "a number in (0, 1]", gamma)
        expect_positive(rate, "rate")
        self.gamma, self.rate = gamma, rate
        self.k = torch.zeros(() if runs is None else (runs,), device=device)

    def critic_loss(self, on_real: Tensor, on_fake: Tensor) -> Tensor:
        """L(x) - k L(G(z)) from mean errors, () or (runs,); the shape stays (equation 9, first line)."""
        return on_real - self.k * on_fake

    @torch.no_grad()
    def update(self, on_real: Tensor, on_fake: Tensor) -> Tensor:
        """Move k by rate * (gamma L(x) - L(G(z))), within [0, 1]; return M = L(x) + |gamma L(x) - L(G(z))|, as k was.

        M is the paper's global measure of convergence (section 3.4.1): small when real samples are reconstructed well
        and the balance holds.
        """
        gap = self.gamma * on_real - on_fake
        self.k = (self.k + self.rate * gap).clamp(0, 1)
        return on_real + gap.abs()

    def state_dict(self) -> dict:
        """k, for a checkpoint."""
        return {"k": self.k.clone()}

    def load_state_dict(self, state: dict) -> None:
        """Put k back."""
        self.k = state["k"].to(self.k)


def began_step(
    G: nn.Module, D: nn.Module, opt_g: torch.optim.Optimizer, opt_d: torch.optim.Optimizer,
    x: Tensor, z_d: Tensor, z_g: Tensor, balance: Balance,
) -> tuple[Tensor, Tensor, Tensor]:
    """One step of D on real ``x`` and on G(z_d), one of G on ``z_g``, one of k (equation 9).

    D gives errors (B,) or (runs, B), low for real, as ``ReconstructionError`` does; (B, 1) and the like will do, as in
    ``gan_step``. Returns the means of L(x) and L(G(z_g)) and the measure M, () or (runs,), detached.
    """
    with torch.no_grad():
        fake = ask(G, z_d)
    on_real = critic_output(D, x).mean(dim=-1)
    opt_d.zero_grad()
    balance.critic_loss(on_real, critic_output(D, fake).mean(dim=-1)).sum().backward()
    opt_d.step()
    with frozen(D):
        on_fake = critic_output(D, ask(G, z_g)).mean(dim=-1)
        opt_g.zero_grad()
        on_fake.sum().backward()
    opt_g.step()
    on_real, on_fake = on_real.detach(), on_fake.detach()
    return on_real, on_fake, balance.update(on_real, on_fake)
