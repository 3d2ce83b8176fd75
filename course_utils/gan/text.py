"""Text to image: the matching-aware critic of Reed et al. (2016), GAN-CLS, and texts that nearly match."""
from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from course_utils.gan.call import ask, critic_output, in_rows
from course_utils.gan.losses import NON_SATURATING, GANLoss
from course_utils.gan.step import frozen
from course_utils.validate import expect, expect_choice


class NearMisses:
    """Finds, for a picture, another one that differs in exactly one attribute: its caption nearly fits, and is wrong.

    ``attributes``  name -> int64 (N,), the value of each picture

    Chance comes from torch's global stream on the CPU, and there all is worked out. Only values and combinations that
    some picture has are found.
    """

    def __init__(self, attributes: Mapping[str, Tensor]) -> None:
        expect(len(attributes) > 0, "attributes", "at least one", "none")
        self.names = tuple(attributes)
        table = torch.stack([values.cpu() for values in attributes.values()], dim=1)
        self._sizes = (table.amax(dim=0) + 1).tolist()
        self._steps = [math.prod(self._sizes[i + 1:]) for i in range(len(self._sizes))]
        self._kind = (table * torch.tensor(self._steps, device="cpu")).sum(dim=1)  # one number for each combination of values
        self._order = self._kind.argsort(stable=True)
        self._count = torch.bincount(self._kind, minlength=math.prod(self._sizes))
        self._first = self._count.cumsum(dim=0) - self._count
        self._table = table

    def differing_in(self, name: str, rows: Tensor) -> Tensor:
        """For the pictures ``rows`` (B,) one each, (B,), that has another value of ``name`` and all other values alike.

        Rows on a GPU are fetched, for which the program waits; rows on the CPU are not. The answer lies on the CPU.
        Raises ValueError for an unknown attribute, and where some picture has no such neighbour.
        """
        expect_choice(name, "name", self.names)
        place = self.names.index(name)
        size, step = self._sizes[place], self._steps[place]
        rows = rows.cpu()
        own = self._table[rows, place]
        values = torch.arange(size, device="cpu")
        others = self._kind[rows, None] + (values - own[:, None]) * step  # (B, size): every value in turn
        weight = (self._count[others] > 0) & (values != own[:, None])
        expect(bool(weight.any(dim=1).all()), "rows", f"pictures with a neighbour of another {name}", "one without")
        chosen = others.gather(1, torch.multinomial(weight.float(), 1)).flatten()
        return self._order[self._first[chosen] + (torch.rand(len(rows), device="cpu") * self._count[chosen]).long()]


def cls_loss(right: Tensor, wrong: Tensor | None, fake: Tensor, loss: GANLoss = NON_SATURATING) -> Tensor:
    """What the matching-aware critic minimises (Reed et al. 2016, algorithm 1), a scalar.

    From its logits for real pictures with their own text, (B,), for real pictures with a wrong one, any shape, and for
    generated pictures with the text asked for, (B,). The two kinds of mistake weigh 1/2 each. ``wrong`` None: the plain
    conditional loss, without mismatched pairs.
    """
    if wrong is None:
        return loss.for_critic(right, fake)
    return loss.real(right).mean() + (loss.fake(wrong).mean() + loss.fake(fake).mean()) / 2


def text_step(
    G: nn.Module, D: nn.Module, E: nn.Module, opt_g: torch.optim.Optimizer, opt_d: torch.optim.Optimizer,
    x: Tensor, right: Tensor, wrong: Tensor | None, z: Tensor, *, loss: GANLoss = NON_SATURATING,
) -> tuple[Tensor, Tensor]:
    """Update D and E once, then G, on pictures ``x`` (B, C, H, W); returns the critic's loss and the generator's, detached.

    ``right`` (B, L) are their captions as numbers of words, ``wrong`` (M, B, L) M captions for each that don't fit, or None.
    ``opt_d`` updates the critic D and the encoder E, which so learns what tells texts apart; G reads the codes as they are.
    """
    code = ask(E, right)
    fake = ask(G, z, code.detach())
    seen = ask(D.look, x)
    match = lambda code: in_rows(D.match(seen, code), x)  # noqa: E731
    on_wrong = None if wrong is None else torch.stack([match(ask(E, one)) for one in wrong])
    d_loss = cls_loss(match(code), on_wrong, critic_output(D, fake.detach(), code), loss)
    opt_d.zero_grad()
    d_loss.backward()
    opt_d.step()
    with frozen(D):
        g_loss = loss.for_generator(critic_output(D, fake, code.detach()))
        opt_g.zero_grad()
        g_loss.backward()
    opt_g.step()
    return d_loss.detach(), g_loss.detach()


def interpolate(start: Tensor, end: Tensor, steps: int) -> Tensor:
    """``steps`` codes on the straight lines from ``start`` to ``end`` (B, d), both included: (steps, B, d).

    Reed et al. 2016, section 4.3: what lies between the codes of two captions asks for something between their pictures.
    """
    expect(steps >= 2, "steps", "at least 2", steps)
    expect(start.shape == end.shape, "end", f"the shape {tuple(start.shape)}", f"the shape {tuple(end.shape)}")
    share = torch.linspace(0, 1, steps, device=start.device, dtype=start.dtype).view(-1, *[1] * start.ndim)
    return torch.lerp(start, end, share)
