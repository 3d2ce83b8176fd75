"""Translation between two kinds of picture without pairs: CycleGAN (Zhu et al. 2017)."""
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from course_utils.gan.call import ask, critic_output
from course_utils.gan.losses import LEAST_SQUARES, GANLoss
from course_utils.gan.step import frozen
from course_utils.validate import expect, expect_count


class Pool:
    """Up to ``size`` generated pictures of earlier steps, shown to the critic again (Shrivastava et al. 2017; ``size`` 50 in Zhu et al.).

    While there is room, every picture is kept and handed on. Once it is full, each picture is, with chance 1/2, handed on as it
    is, or exchanged for one from the pool, in which it takes that one's place. Chance comes from torch's global stream on the
    CPU, so nothing waits for a GPU. What is kept lies on the device of the pictures that come in. ``loop`` can keep it: it
    has state_dict and load_state_dict.
    """

    def __init__(self, size: int = 50) -> None:
        expect_count(size, "size")
        self.size = size
        self._kept: list[Tensor] = []

    def __len__(self) -> int:
        return len(self._kept)

    @torch.no_grad()
    def exchange(self, pictures: Tensor) -> Tensor:
        """As many pictures as came in (B, C, H, W), some of them older."""
        self._kept = [kept.to(pictures.device) for kept in self._kept]  # a checkpoint may bring them back on the CPU
        handed_on = []
        for picture in pictures.detach():
            if len(self._kept) < self.size:
                self._kept.append(picture.clone())
            elif torch.rand((), device="cpu") < 0.5:
                place = int(torch.randint(self.size, (), device="cpu"))
                picture, self._kept[place] = self._kept[place], picture.clone()
            handed_on.append(picture)
        return torch.stack(handed_on)

    def state_dict(self) -> dict:
        return {"kept": [picture.clone() for picture in self._kept]}

    def load_state_dict(self, state: dict) -> None:
        expect(len(state["kept"]) <= self.size, "state", f"at most {self.size} pictures", len(state["kept"]))
        self._kept = [picture.clone() for picture in state["kept"]]


class CycleNets(nn.Module):
    """The four nets: ``to_b`` and ``to_a`` translate, ``critic_a`` and ``critic_b`` judge pictures of a and of b."""

    def __init__(self, translator: Callable[[], nn.Module], critic: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.to_b, self.to_a = translator(), translator()
        self.critic_a, self.critic_b = critic(), critic()
        self.to(memory_format=torch.contiguous_format)  # instance norm is slower in channels-last order

    def translators(self) -> list[nn.Parameter]:
        """All that the generators' optimiser updates."""
        return [*self.to_b.parameters(), *self.to_a.parameters()]

    def critics(self) -> list[nn.Parameter]:
        """All that the critics' optimiser updates."""
        return [*self.critic_a.parameters(), *self.critic_b.parameters()]


def cycle_objective(nets: CycleNets, a: Tensor, b: Tensor, weight: float, loss: GANLoss = LEAST_SQUARES) -> tuple[Tensor, Tensor, Tensor]:
    """What both translators minimise on pictures ``a`` and ``b`` (B, C, H, W), a scalar; and the translations of b and of a.

    Equation 3 of Zhu et al.: each translation has to pass for real, and translated back it has to be the picture that it came
    from, in mean absolute difference times ``weight``. With 0 that second half is not computed. (The least squares loss
    here has the factor 1/2, and pictures are in [0, 1] instead of [-1, 1]: both halves are half of the paper's, so ``weight``
    means the same, 10 there.)
    """
    expect(weight >= 0, "weight", "a number of at least 0", weight)
    fake_b, fake_a = ask(nets.to_b, a), ask(nets.to_a, b)
    on_b, on_a = critic_output(nets.critic_b, fake_b), critic_output(nets.critic_a, fake_a)
    value = loss.for_generator(on_b) + loss.for_generator(on_a)
    if weight:
        there_and_back = (ask(nets.to_a, fake_b) - a).abs().mean() + (ask(nets.to_b, fake_a) - b).abs().mean()
        value = value + weight * there_and_back
    return value, fake_a, fake_b


def cycle_step(
    nets: CycleNets, opt_g: torch.optim.Optimizer, opt_d: torch.optim.Optimizer, pools: tuple[Pool, Pool], a: Tensor, b: Tensor,
    *, weight: float = 10.0, loss: GANLoss = LEAST_SQUARES,
) -> tuple[Tensor, Tensor]:
    """Update both translators once, then both critics, on unpaired ``a`` and ``b``; returns the critics' loss and the translators'.

    The critics see translations from ``pools``, one pool for pictures of a and one of b, and their halves of the loss are
    averaged as in the paper: they learn half as fast.
    """
    with frozen(nets.critic_a), frozen(nets.critic_b):
        value, fake_a, fake_b = cycle_objective(nets, a, b, weight, loss)
        opt_g.zero_grad()
        value.backward()
    opt_g.step()
    older_a, older_b = pools[0].exchange(fake_a), pools[1].exchange(fake_b)
    judged = ((nets.critic_a, a, older_a), (nets.critic_b, b, older_b))
    d_loss = sum(loss.for_critic(critic_output(D, real), critic_output(D, fake)) for D, real, fake in judged) / 2
    opt_d.zero_grad()
    d_loss.backward()
    opt_d.step()
    return d_loss.detach(), value.detach()
