"""One iteration of the GAN training algorithm (Goodfellow et al. 2014, algorithm 1)."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from course_utils.gan.losses import NON_SATURATING, GANLoss
from course_utils.validate import expect_count


@contextmanager
def frozen(net: nn.Module) -> Iterator[None]:
    """Within, gradients pass through ``net`` but none is computed for its parameters; as before afterwards."""
    wanted = [p for p in net.parameters() if p.requires_grad]
    for p in wanted:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in wanted:
            p.requires_grad_(True)


def critic_step(G: nn.Module, D: nn.Module, opt_d: torch.optim.Optimizer, x: Tensor, z: Tensor, loss: GANLoss) -> Tensor:
    """Update D once on real ``x`` and on G(z); G gets no gradient. Returns the loss, a detached scalar."""
    with torch.no_grad():
        fake = G(z)
    value = loss.for_critic(D(x), D(fake))
    opt_d.zero_grad()
    value.backward()
    opt_d.step()
    return value.detach()


def generator_step(G: nn.Module, D: nn.Module, opt_g: torch.optim.Optimizer, z: Tensor, loss: GANLoss) -> Tensor:
    """Update G once through a frozen D. Returns the loss, a detached scalar."""
    with frozen(D):
        value = loss.for_generator(D(G(z)))
        opt_g.zero_grad()
        value.backward()
    opt_g.step()
    return value.detach()


def gan_step(
    G: nn.Module, D: nn.Module, opt_g: torch.optim.Optimizer, opt_d: torch.optim.Optimizer,
    data: Callable[[], Tensor], noise: Callable[[], Tensor], *, k: int = 1, loss: GANLoss = NON_SATURATING,
) -> tuple[Tensor, Tensor]:
    """k critic steps, then one generator step, each on a fresh minibatch.

    ``data()`` gives a minibatch of real samples, ``noise()`` one of z; D maps samples to logits (B,), or
    (runs, B) for a stack. Returns the last critic loss and the generator loss, detached scalars. Raises
    ValueError unless k is a whole number of at least 1.
    """
    expect_count(k, "k")
    for _ in range(k):
        d_loss = critic_step(G, D, opt_d, data(), noise(), loss)
    return d_loss, generator_step(G, D, opt_g, noise(), loss)
