"""One iteration of the GAN training algorithm (Goodfellow et al. 2014, algorithm 1)."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from course_utils.gan.losses import NON_SATURATING, GANLoss
from course_utils.validate import expect_count

Penalty = Callable[[nn.Module, Tensor, Tensor], Tensor]  # D, real and fake samples -> scalar, as gan.penalty.GradientPenalty


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


def critic_step(
    G: nn.Module, D: nn.Module, opt_d: torch.optim.Optimizer, x: Tensor, z: Tensor, loss: GANLoss, *,
    penalty: Penalty | None = None, together: bool = False,
) -> Tensor:
    """Update D once on real ``x`` and on G(z); G gets no gradient. Returns the loss (with its penalty), a detached scalar.

    ``penalty`` and ``together``: see ``gan_step``.
    """
    with torch.no_grad():
        fake = G(z)
    return _teach(D, opt_d, x, fake, loss, penalty, z.ndim - 2 if together else None)


def generator_step(G: nn.Module, D: nn.Module, opt_g: torch.optim.Optimizer, z: Tensor, loss: GANLoss) -> Tensor:
    """Update G once through a frozen D. Returns the loss, a detached scalar."""
    return _fool(D, opt_g, G(z), loss)


def gan_step(
    G: nn.Module, D: nn.Module, opt_g: torch.optim.Optimizer, opt_d: torch.optim.Optimizer,
    data: Callable[[], Tensor], noise: Callable[[], Tensor], *, k: int = 1, loss: GANLoss = NON_SATURATING,
    penalty: Penalty | None = None, together: bool = False, reuse: bool = False,
) -> tuple[Tensor, Tensor]:
    """k critic steps, then one generator step, each on a fresh minibatch.

    ``data()`` gives a minibatch of real samples, ``noise()`` one of z, (B, d) or (runs, B, d); D maps samples
    to logits (B,), or (runs, B) for a stack. Returns the last critic loss and the generator loss, detached
    scalars. ``penalty(D, real, fake)`` is added to the critic's loss. Raises ValueError unless k is a whole number
    of at least 1.

    Two ways to save time, for whoever wants them (``make bench`` says how much):
    ``together``  D sees the real and the fake samples as one batch. The same numbers, unless D mixes the
                  samples of a batch, as batch norm does.
    ``reuse``     the generator's step takes the samples of the last critic step instead of making fresh ones:
                  not the algorithm of 2014 to the letter, but what most programs do.
    """
    expect_count(k, "k")
    for _ in range(k):
        x, z = data(), noise()
        if reuse:
            fake = G(z)
            d_loss = _teach(D, opt_d, x, fake.detach(), loss, penalty, z.ndim - 2 if together else None)
        else:
            d_loss = critic_step(G, D, opt_d, x, z, loss, penalty=penalty, together=together)
    return d_loss, _fool(D, opt_g, fake, loss) if reuse else generator_step(G, D, opt_g, noise(), loss)


def _teach(
    D: nn.Module, opt_d: torch.optim.Optimizer, x: Tensor, fake: Tensor, loss: GANLoss, penalty: Penalty | None, joined: int | None,
) -> Tensor:
    """Update D once on real ``x`` and on ``fake``, as one batch along the axis ``joined`` unless it is None."""
    if joined is None:
        on_real, on_fake = D(x), D(fake)
    else:
        on_real, on_fake = D(torch.cat([x, fake], dim=joined)).split([x.shape[joined], fake.shape[joined]], dim=-1)
    value = loss.for_critic(on_real, on_fake)
    if penalty is not None:
        value = value + penalty(D, x, fake)
    opt_d.zero_grad()
    value.backward()
    opt_d.step()
    return value.detach()


def _fool(D: nn.Module, opt_g: torch.optim.Optimizer, fake: Tensor, loss: GANLoss) -> Tensor:
    """Update G, which made ``fake``, once through a frozen D."""
    with frozen(D):
        value = loss.for_generator(D(fake))
        opt_g.zero_grad()
        value.backward()
    opt_g.step()
    return value.detach()
