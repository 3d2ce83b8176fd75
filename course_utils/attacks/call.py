"""What all attacks share: they look at their arguments first, and leave the model and the random state as they were."""
from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from numbers import Real

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_utils.attacks.ball import Ball
from course_utils.training.checkpoint import random_state, seed_global_streams, set_random_state
from course_utils.training.mode import at_rest, mode
from course_utils.validate import expect, expect_count, expect_in_box, expect_labels

Model = Callable[[Tensor], Tensor]  # (B, ...) in [0, 1] -> logits (B, K)
Loss = Callable[[Tensor, Tensor], Tensor]  # logits (B, K), labels (B,) -> (B,)

_HALF_SCALE = 2.0**10
_AT_ONCE_ON_A_CPU = 128  # what a step works on stays in the cache: 0.70 to 0.96 of the time of 256, by the net


class AttackWarning(UserWarning):
    """What an attack found is not to be trusted as it stands; the message says why."""


def cross_entropies(logits: Tensor, y: Tensor) -> Tensor:
    """The cross entropy of each example, (B,), from logits (B, K) and labels (B,)."""
    return F.cross_entropy(logits, y, reduction="none")


def escape_losses(logits: Tensor, y: Tensor) -> Tensor:
    """The cross entropy of "any class but y", -log(1 - p(y)), of each example, (B,): lower is further from y.

    The more sure a model is of y, the flatter cross entropy itself becomes; this one doesn't.
    """
    return logits.logsumexp(1) - logits.scatter(1, y[:, None], -torch.inf).logsumexp(1)


def expect_arguments(model: object, x: object, y: object, eps: object, ball: Ball, batch: object) -> None:
    """Raise ValueError, naming the argument, for anything that an attack can't work on. ``y`` may be None: no labels needed."""
    expect(callable(model), "model", "a function of x that returns logits", type(model).__name__)
    expect_in_box(x, "x")
    if y is not None:
        expect_labels(y, None, len(x), "y")
        expect(y.device == x.device, "y", f"the device of x, {x.device}", y.device)
    radius(eps, x, ball)
    expect_count(batch, "batch")


def radius(eps: object, x: Tensor, ball: Ball, name: str = "eps") -> Tensor:
    """``eps``, a number or a tensor (N,), as (N,) like ``x``. Raises ValueError unless all lie between 0 and the box's size."""
    eps = eps.detach() if isinstance(eps, Tensor) else eps
    values = torch.as_tensor(eps, dtype=torch.float64, device="cpu") if isinstance(eps, (Real, Tensor)) else None  # not every device has float64
    fits = values is not None and not isinstance(eps, bool) and values.shape in ((), (len(x),))
    expect(fits, name, f"a number, or one for each example, ({len(x)},)", eps if values is None else f"the shape {tuple(values.shape)}")
    most = ball.largest(x.shape[1:])
    low, high = values.min().item(), values.max().item()
    expect(0 <= low and high <= most, name, f"0 to {most:.4g} ({ball.name} within [0, 1])", f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}")
    return values.to(x.dtype).to(x.device).expand(len(x))


class Lent:
    """A model that gets a copy of what it is asked about: it may change that as it likes.

    On a CPU pictures lie with their channels last in memory there, where convolutions are faster. Values and shapes are the
    same. A model that puts what a convolution returns in rows with ``.view`` can't do it then: it fails, forward or backward,
    and from there on gets its pictures with the channels first.
    """

    def __init__(self, model: Model) -> None:
        self.model, self.channels_last = model, True

    def __call__(self, x: Tensor) -> Tensor:
        with at_rest():
            return self._ask(x)

    def _ask(self, x: Tensor) -> Tensor:
        if self.channels_last and x.ndim == 4 and x.device.type == "cpu":
            try:
                return self.model(x.clone(memory_format=torch.channels_last))
            except Exception:  # noqa: BLE001  whatever it says, the channels may be why
                self.channels_last = False
        return self.model(x.clone(memory_format=torch.contiguous_format))


@contextmanager
def borrowed(model: Model, generator: torch.Generator | None = None) -> Iterator[Lent]:
    """``model`` to be asked, in eval mode with gradients switched on; afterwards its mode and every random stream as before.

    Gradients are switched on under ``no_grad`` and ``inference_mode`` too. A model that draws random numbers draws them
    from torch's global stream: ``generator``, where given, says where that begins.
    """
    before = random_state()
    recurrent = isinstance(model, nn.Module) and any(isinstance(part, nn.RNNBase) for part in model.modules())
    try:
        if generator is not None:
            seed_global_streams(generator.initial_seed())
        with torch.inference_mode(False), torch.enable_grad(), mode(model, train=False), _without_cudnn() if recurrent else nullcontext():
            yield Lent(model)
    finally:
        set_random_state(before)


@contextmanager
def _without_cudnn() -> Iterator[None]:
    """cuDNN gives recurrent nets no gradient in eval mode."""
    before = torch.backends.cudnn.enabled
    torch.backends.cudnn.enabled = False
    try:
        yield
    finally:
        torch.backends.cudnn.enabled = before


def input_gradient(lent: Lent, x: Tensor, y: Tensor, loss: Loss = cross_entropies) -> tuple[Tensor, Tensor]:
    """The gradient of each example's ``loss`` for x, of the shape of ``x``, and the logits (B, K), both detached.

    Of the sum over the batch, so no example's gradient depends on how many others there are. Parameters gather nothing.
    Raises ValueError when the answer is not (B, K), does not know a label, is NaN, or has no gradient, or one of NaN.
    """
    try:
        return _input_gradient(lent, x, y, loss)
    except RuntimeError:
        if not lent.channels_last:
            raise
    lent.channels_last = False
    return _input_gradient(lent, x, y, loss)


def _input_gradient(lent: Lent, x: Tensor, y: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
    x = x.detach().requires_grad_()
    logits = lent(x)
    expect_answer(logits, x, y)
    expect(logits.requires_grad, "model", "torch operations from x to the logits, which have a gradient", "logits without one")
    half = logits.dtype in (torch.float16, torch.bfloat16)
    values = loss(logits.float() if half else logits, y)
    expect(isinstance(values, Tensor) and values.shape == y.shape, "loss", f"one number for each example, ({len(y)},)", getattr(values, "shape", values))
    for scale in (_HALF_SCALE, 1.0) if half else (1.0,):  # tiny gradients would vanish in half precision; large ones are as they are
        gradient, = torch.autograd.grad(scale * values.sum(), x, retain_graph=scale > 1, allow_unused=True)
        expect(gradient is not None, "model", "logits that depend on x", "logits that don't")
        gradient = gradient / scale if half else gradient
        if scale == 1 or gradient.isfinite().all():
            break
    expect(not bool(gradient.isnan().any()), "model", "gradients without NaN", "NaN among them")
    return gradient, logits.detach()


def expect_answer(logits: object, x: Tensor, y: Tensor | None = None) -> None:
    """Raise ValueError unless ``logits`` is (B, K) for the B examples of ``x``, without NaN, and knows every class of ``y``."""
    expect(isinstance(logits, Tensor), "model", "a torch.Tensor of logits", type(logits).__name__)
    shaped = logits.ndim == 2 and len(logits) == len(x) and logits.shape[1] >= 2
    expect(shaped, "model", f"logits of the shape ({len(x)}, classes), at least 2 classes", f"the shape {tuple(logits.shape)}")
    expect(bool(logits.detach().isfinite().all()), "model", "finite logits", "NaN or infinity among them")
    if y is not None and len(y):
        most = y.max().item()
        expect(most < logits.shape[1], "y", f"class numbers below {logits.shape[1]}, the classes of the model", most)


@torch.no_grad()
def answers(model: Model, x: Tensor, y: Tensor | None = None) -> Tensor:
    """The logits (B, K) for ``x``, looked at as ``expect_answer`` does, without gradient."""
    logits = model(x)
    expect_answer(logits, x, y)
    return logits


def warn_if_probabilities(logits: Tensor) -> None:
    """Warn when ``logits`` look like probabilities."""
    if looks_like_probabilities(logits):
        warn("the model's answers are at least 0 and add up to 1: these look like probabilities. Attacks need logits: where a "
             "probability is near 1, its slope is nearly 0 and an attack finds no way, though there may be one")


def warn_if_reached(logits: Tensor, target: Tensor) -> None:
    """Warn when the model answers with ``target`` before anything is changed."""
    there = (logits.argmax(1) == target).sum().item()
    if there:
        warn(f"y: {there} of {len(target)} targets are what the model answers already; they count as reached without any change")


def looks_like_probabilities(logits: Tensor) -> bool:
    """Whether every row is at least 0 and adds up to 1 within a thousandth."""
    return bool((logits >= 0).all() and ((logits.sum(1) - 1).abs() < 1e-3).all())


def warn(message: str) -> None:
    """An AttackWarning, shown at the line that called the course's code."""
    warnings.warn(message, AttackWarning, stacklevel=4)


def in_batches(part: Callable[..., Tensor], batch: int, *tensors: Tensor) -> Tensor:
    """``part`` of every ``batch`` rows of ``tensors`` (fewer on a CPU), put together again like the first of them."""
    tensors = [values.clone() if values.is_inference() else values for values in tensors]  # of inference_mode: no gradient flows through them
    x = tensors[0]
    if x.device.type == "cpu":
        batch = min(batch, _AT_ONCE_ON_A_CPU)
    found = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    for rows in zip(found.split(batch), *(values.split(batch) for values in tensors)):
        rows[0].copy_(part(*rows[1:]))
    expect(not bool(found.isnan().any()), "model", "gradients without NaN", "NaN among them")
    return found
