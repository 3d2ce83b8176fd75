"""One iteration of training a conditional GAN (Mirza and Osindero 2014): the game over pairs (x, y)."""
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from course_utils.gan.call import ask
from course_utils.gan.losses import NON_SATURATING, GANLoss
from course_utils.gan.step import critic_step, generator_step


class Given(nn.Module):
    """``net`` with its condition y held: ``Given(net, y)(x)`` is ``net(x, y)``. Its parameters are those of ``net``."""

    def __init__(self, net: nn.Module, y: Tensor) -> None:
        super().__init__()
        self.net = net
        self._y = [y]  # in a list, so that it is no part of the state

    def forward(self, x: Tensor) -> Tensor:
        return ask(self.net, x, self._y[0])


def conditional_step(
    G: nn.Module, D: nn.Module, opt_g: torch.optim.Optimizer, opt_d: torch.optim.Optimizer,
    data: Callable[[], tuple[Tensor, Tensor]], noise: Callable[[], Tensor], *, loss: GANLoss = NON_SATURATING,
) -> tuple[Tensor, Tensor]:
    """One step of D, one of G, each on a fresh minibatch. Once y is drawn, the game is the plain one of G(., y) and D(., y).

    ``data()`` gives a minibatch of real pairs (x, y), the condition y in any form that ``G(z, y)`` and ``D(x, y)`` take;
    ``noise()`` gives as many z. D sees the same conditions with the real x and with the fakes; G's step takes those of its
    own minibatch. Returns the critic's loss and the generator's, detached scalars.
    """
    x, y = data()
    d_loss = critic_step(Given(G, y), Given(D, y), opt_d, x, noise(), loss)
    _, y = data()
    return d_loss, generator_step(Given(G, y), Given(D, y), opt_g, noise(), loss)
