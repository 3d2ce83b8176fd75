"""GAN losses, each as three scalar functions of the critic's output.

The output is the logit l with D(x) = sigmoid(l), so log D = -softplus(-l) and log(1 - D) = -softplus(l):
the same values as with a sigmoid and a logarithm, without the overflow.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import relu, softplus

from course_utils.validate import expect

Scalar = Callable[[Tensor], Tensor]  # elementwise, any shape


def batch_mean(values: Tensor) -> Tensor:
    """Mean over the batch (last axis), summed over the runs of a stack (axes before it), if any: a scalar."""
    return values.mean(dim=-1).sum()


def _expect_rows(out: Tensor, name: str) -> None:
    column = out.ndim == 2 and out.shape[1] == 1 and len(out) > 1
    expected = "the shape (B,), or (runs, B) with B above 1"
    expect(out.ndim in (1, 2) and not column, name, expected, f"the shape {tuple(out.shape)}")


@dataclass(frozen=True)
class GANLoss:
    """What the critic minimises on real and on fake samples, and what the generator minimises; elementwise."""

    name: str
    real: Scalar
    fake: Scalar
    generator: Scalar

    def for_critic(self, on_real: Tensor, on_fake: Tensor) -> Tensor:
        """Scalar loss of the critic from its outputs on real and fake samples, (B,) or (runs, B) each.

        Raises ValueError for other shapes: of (B, 1) nobody could say whether B counts samples or runs.
        """
        _expect_rows(on_real, "on_real")
        _expect_rows(on_fake, "on_fake")
        expect(on_real.shape[:-1] == on_fake.shape[:-1], "on_fake", f"the runs of on_real, {tuple(on_real.shape)}", tuple(on_fake.shape))
        return batch_mean(self.real(on_real)) + batch_mean(self.fake(on_fake))

    def for_generator(self, on_fake: Tensor) -> Tensor:
        """Scalar loss of the generator from the critic's output on its samples, (B,) or (runs, B), as in ``for_critic``."""
        _expect_rows(on_fake, "on_fake")
        return batch_mean(self.generator(on_fake))


def _minus_log_d(logit: Tensor) -> Tensor:
    return softplus(-logit)


def _minus_log_one_minus_d(logit: Tensor) -> Tensor:
    return softplus(logit)


MINIMAX = GANLoss("minimax", _minus_log_d, _minus_log_one_minus_d, lambda logit: -softplus(logit))
"""Goodfellow et al. 2014, equation 1: the generator descends log(1 - D(G(z)))."""

NON_SATURATING = GANLoss("non-saturating", _minus_log_d, _minus_log_one_minus_d, _minus_log_d)
"""Goodfellow et al. 2014, section 3: the generator ascends log D(G(z))."""

LEAST_SQUARES = GANLoss("least squares", lambda s: (s - 1).square() / 2, lambda s: s.square() / 2, lambda s: (s - 1).square() / 2)
"""Mao et al. 2017, equation 9: real samples should get 1, fakes 0. The output is a plain number, no sigmoid behind it."""

WASSERSTEIN = GANLoss("Wasserstein", lambda s: -s, lambda s: s, lambda s: -s)
"""Arjovsky et al. 2017, equation 2: means alone. It needs a critic that can't grow without bound: see ``gan.penalty``."""

HINGE = GANLoss("hinge", lambda s: relu(1 - s), lambda s: relu(1 + s), lambda s: -s)
"""Lim and Ye 2017; Miyato et al. 2018, equations 16 and 17: the critic stops pushing samples that are beyond the margin."""


def minimax_value(on_real: Tensor, on_fake: Tensor) -> Tensor:
    """V(D, G), equation 1 of Goodfellow et al. 2014, per run: logits (B,) -> scalar, (runs, B) -> (runs,).

    At most 0; -log 4 when D says 1/2 everywhere. Raises ValueError for other shapes.
    """
    _expect_rows(on_real, "on_real")
    _expect_rows(on_fake, "on_fake")
    return -softplus(-on_real).mean(dim=-1) - softplus(on_fake).mean(dim=-1)
