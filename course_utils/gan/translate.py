"""pix2pix (Isola et al. 2017, section 3.1): from one picture to another, by a conditional GAN and an L1 term."""
from __future__ import annotations

import torch
from torch import Tensor, nn

from course_utils.gan.call import ask, critic_output
from course_utils.gan.losses import NON_SATURATING, GANLoss
from course_utils.gan.step import frozen
from course_utils.validate import expect


def translate_step(
    G: nn.Module, D: nn.Module, opt_g: torch.optim.Optimizer, opt_d: torch.optim.Optimizer, a: Tensor, b: Tensor, *,
    weight: float = 100.0, loss: GANLoss = NON_SATURATING,
) -> tuple[Tensor, Tensor, Tensor]:
    """One step of D, then one of G, on pairs of pictures: ``a`` is given, (B, A, H, W), ``b`` is wanted, (B, C, H, W).

    D learns to tell (a, b) from (a, G(a)). G minimises its side of that game plus ``weight`` (the paper's lambda, 100) times the
    mean of |b - G(a)|. G runs once: both steps look at the same G(a). Returns the critic's loss, the generator's without
    the L1 term, and the mean of |b - G(a)|: detached scalars. Raises ValueError for a weight below 0 and for a ``b`` of another
    shape than G(a).
    """
    expect(weight >= 0, "weight", "a number of at least 0", weight)
    fake = ask(G, a)
    distance = l1(fake, b)
    d_loss = loss.for_critic(critic_output(D, a, b), critic_output(D, a, fake.detach()))
    opt_d.zero_grad()
    d_loss.backward()
    opt_d.step()
    with frozen(D):
        g_loss = loss.for_generator(critic_output(D, a, fake))
        opt_g.zero_grad()
        (g_loss + weight * distance).backward()
    opt_g.step()
    return d_loss.detach(), g_loss.detach(), distance.detach()


def regression_step(G: nn.Module, opt_g: torch.optim.Optimizer, a: Tensor, b: Tensor) -> Tensor:
    """One step of G on the mean of |b - G(a)| alone: pix2pix without its game. Returns that mean, a detached scalar."""
    distance = l1(ask(G, a), b)
    opt_g.zero_grad()
    distance.backward()
    opt_g.step()
    return distance.detach()


def l1(fake: Tensor, b: Tensor) -> Tensor:
    """The mean of |b - fake| over pictures, channels and pixels. Raises ValueError unless both have one shape."""
    expect(fake.shape == b.shape, "b", f"the shape of G(a), {tuple(fake.shape)}", f"the shape {tuple(b.shape)}")
    return (fake - b).abs().mean()
