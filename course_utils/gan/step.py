"""One iteration of the GAN training algorithm (Goodfellow et al. 2014, algorithm 1)."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from course_utils.gan.call import ask, batch_shape, critic_output
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
        fake = ask(G, z)
    return _teach(D, opt_d, x, fake, loss, penalty, together)


def generator_step(G: nn.Module, D: nn.Module, opt_g: torch.optim.Optimizer, z: Tensor, loss: GANLoss) -> Tensor:
    """Update G once through a frozen D. Returns the loss, a detached scalar."""
    return _fool(D, opt_g, ask(G, z), loss)


def gan_step(
    G: nn.Module, D: nn.Module, opt_g: torch.optim.Optimizer, opt_d: torch.optim.Optimizer,
    data: Callable[[], Tensor], noise: Callable[[], Tensor], *, k: int = 1, loss: GANLoss = NON_SATURATING,
    penalty: Penalty | None = None, together: bool = False, reuse: bool = False,
) -> tuple[Tensor, Tensor]:
    """k critic steps, then one generator step, each on a fresh minibatch.

    ``data()`` gives a minibatch of real samples, ``noise()`` one of z, (B, d) or (runs, B, d); D maps samples
    to logits (B,), or (runs, B) for a stack of runs, whose points are (runs, B, d). (B, 1), (B, 1, 1, 1) and maps of
    patches (B, 1, h, w) will do: a map's loss is the mean over its patches. Returns the last critic loss and the
    generator loss, detached scalars. ``penalty(D, real, fake)`` is added to the critic's loss. Nets that change their
    input in place change copies. Raises ValueError unless k is a whole number of at least 1, and for a D whose answers
    fit no samples.

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
            fake = ask(G, z)
            d_loss = _teach(D, opt_d, x, fake.detach(), loss, penalty, together)
        else:
            d_loss = critic_step(G, D, opt_d, x, z, loss, penalty=penalty, together=together)
    return d_loss, _fool(D, opt_g, fake, loss) if reuse else generator_step(G, D, opt_g, noise(), loss)


def _teach(
    D: nn.Module, opt_d: torch.optim.Optimizer, x: Tensor, fake: Tensor, loss: GANLoss, penalty: Penalty | None,
    together: bool,
) -> Tensor:
    """Update D once on real ``x`` and on ``fake``, as one batch if ``together``."""
    if x.ndim == 2 and fake.ndim == 3:
        x = x.expand(len(fake), *x.shape)  # one minibatch for all runs
    value = loss.for_critic(*(_side_by_side(D, x, fake) if together else (critic_output(D, x), critic_output(D, fake))))
    if penalty is not None:
        value = value + penalty(D, x.clone(), fake.clone())
    opt_d.zero_grad()
    value.backward()
    opt_d.step()
    return value.detach()


def _side_by_side(D: nn.Module, x: Tensor, fake: Tensor) -> tuple[Tensor, ...]:
    """What D says of real ``x`` and of ``fake`` in one batch."""
    axis = len(batch_shape(x)) - 1
    out = critic_output(D, torch.cat([x, fake], dim=axis))
    patches = out.shape[-1] // (x.shape[axis] + fake.shape[axis])
    return out.split([patches * x.shape[axis], patches * fake.shape[axis]], dim=-1)


def _fool(D: nn.Module, opt_g: torch.optim.Optimizer, fake: Tensor, loss: GANLoss) -> Tensor:
    """Update G, which made ``fake``, once through a frozen D."""
    with frozen(D):
        value = loss.for_generator(critic_output(D, fake))
        opt_g.zero_grad()
        value.backward()
    opt_g.step()
    return value.detach()
