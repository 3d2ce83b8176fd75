"""What all attacks share: they look at their arguments first, and leave the model and the random state as they were."""
from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from numbers import Real

import torch
from torch import Tensor
from torch.nn import functional as F

from course_utils.attacks.ball import Ball
from course_utils.training.checkpoint import random_state, seed_global_streams, set_random_state
from course_utils.training.mode import at_rest, mode, recurrent_without_cudnn
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

    What a GPU would have to wait for is looked at once, at the end: whether an answer or a gradient was NaN is gathered on
    the device meanwhile. ``highest`` is the largest label that is meant, ``labels`` the argument that it comes from.
    """

    def __init__(self, model: Model, highest: int = -1, labels: str = "y") -> None:
        self.model, self.highest, self.labels = model, highest, labels
        self.channels_last, self.looked, self.bad, self.spoilt = True, False, {}, None

    def __call__(self, x: Tensor) -> Tensor:
        with at_rest(), recurrent_without_cudnn():
            return self._ask(x)

    def _ask(self, x: Tensor) -> Tensor:
        if self.channels_last and x.ndim == 4 and x.device.type == "cpu":
            try:
                return self.model(x.clone(memory_format=torch.channels_last))
            except Exception:  # noqa: BLE001  whatever it says, the channels may be why
                self.channels_last = False
        return self.model(x.clone(memory_format=torch.contiguous_format))

    def look_at(self, logits: object, x: Tensor) -> None:
        """Raise ValueError unless ``logits`` is (B, K) for the B examples of ``x`` and knows every label; note NaN and infinity."""
        expect_answer(logits, x)
        expect(self.highest < logits.shape[1], self.labels, f"class numbers below {logits.shape[1]}, the classes of the model", self.highest)
        self.note("finite logits", "NaN or infinity", ~logits.detach().isfinite().all())

    def doubt(self, logits: Tensor) -> None:
        """Warn when the first ``logits`` look like probabilities."""
        if not self.looked:
            warn_if_probabilities(logits)
        self.looked = True

    def note(self, expected: str, got: str, bad: Tensor) -> None:
        """``got`` came for ``expected`` if ``bad``, a bool on the model's device. Nobody waits for it here.

        What comes after the first that was bad follows from it, and doesn't count.
        """
        first = bad if self.spoilt is None else bad & ~self.spoilt
        self.spoilt = bad if self.spoilt is None else bad | self.spoilt
        self.bad[expected, got] = self.bad.get((expected, got), first) | first

    def settle(self) -> None:
        """Raise ValueError for what was bad first."""
        found = torch.stack(list(self.bad.values())).tolist() if self.bad else []
        for (expected, got), bad in zip(self.bad, found):
            expect(not bad, "model", expected, f"{got} among them")


@contextmanager
def borrowed(
    model: Model, generator: torch.Generator | None = None, *, y: Tensor | None = None, labels: str = "y",
) -> Iterator[Lent]:
    """``model`` to be asked, in eval mode with gradients switched on; afterwards its mode and every random stream as before.

    Gradients are switched on under ``no_grad`` and ``inference_mode`` too. A model that draws random numbers draws them
    from torch's global stream: ``generator``, where given, says where that begins. The model has to know the classes
    ``y``, the argument called ``labels``. Raises ValueError at the end when an answer or a gradient was NaN.
    """
    before = random_state()
    try:
        if generator is not None:
            seed_global_streams(generator.initial_seed())
        with torch.inference_mode(False), torch.enable_grad(), mode(model, train=False):
            lent = Lent(model, -1 if y is None else y.max().item(), labels)
            yield lent
            lent.settle()
    finally:
        set_random_state(before)


def input_gradient(lent: Lent, x: Tensor, y: Tensor, loss: Loss = cross_entropies) -> tuple[Tensor, Tensor]:
    """The gradient of each example's ``loss`` for x, of the shape of ``x``, and the logits (B, K), both detached.

    Of the sum over the batch, so no example's gradient depends on how many others there are. Parameters gather nothing.
    Raises ValueError when the answer is not (B, K), does not know a label, or has no gradient; NaN is noted by ``lent``.
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
    lent.look_at(logits, x)
    expect(logits.requires_grad, "model", "torch operations from x to the logits, which have a gradient", "logits without one")
    half = logits.dtype in (torch.float16, torch.bfloat16)
    values = loss(logits.float() if half else logits, y)
    expect(isinstance(values, Tensor) and values.shape == y.shape, "loss", f"one number for each example, ({len(y)},)", getattr(values, "shape", values))
    for scale in (_HALF_SCALE, 1.0) if half else (1.0,):  # tiny gradients would vanish in half precision; large ones are as they are
        gradient, = torch.autograd.grad(scale * values.sum(), x, retain_graph=scale > 1, allow_unused=True)
        expect(gradient is not None, "model", "logits that depend on x", "logits that don't")
        gradient = gradient / scale if half else gradient
        if scale == 1 or gradient.isfinite().all():  # the one read a step, in half precision alone: which of the two will do
            break
    lent.note("gradients without NaN", "NaN", gradient.isnan().any())
    return gradient, logits.detach()


def expect_answer(logits: object, x: Tensor) -> None:
    """Raise ValueError unless ``logits`` is (B, K) for the B examples of ``x``. Its values are not read."""
    expect_tensor(logits, "model")
    shaped = logits.ndim == 2 and len(logits) == len(x) and logits.shape[1] >= 2
    expect(shaped, "model", f"logits of the shape ({len(x)}, classes), at least 2 classes", f"the shape {tuple(logits.shape)}")


def expect_tensor(logits: object, name: str) -> None:
    """Raise ValueError unless ``logits`` is a tensor; of an object that holds them (Hugging Face's models) it says how to get at them."""
    within = ", as of lambda x: model(x).logits" if hasattr(logits, "logits") else ""
    expect(isinstance(logits, Tensor), name, f"a torch.Tensor of logits{within}", type(logits).__name__)


@torch.no_grad()
def answers(lent: Lent, x: Tensor) -> Tensor:
    """The logits (B, K) for ``x``, without gradient; looked at as ``Lent.look_at`` does."""
    logits = lent(x)
    lent.look_at(logits, x)
    return logits


def warn_if_probabilities(logits: Tensor) -> None:
    """Warn when ``logits`` look like probabilities."""
    if looks_like_probabilities(logits):
        warn("the model's answers all lie in [0, 1]: these look like probabilities, of a softmax or of sigmoids. Attacks need "
             "logits: where a probability is near 0 or 1, its slope is nearly 0 and an attack finds no way, though there may be one")


def warn_if_reached(logits: Tensor, target: Tensor) -> None:
    """Warn when the model answers with ``target`` before anything is changed."""
    there = (logits.argmax(1) == target).sum().item()
    if there:
        warn(f"{there} of {len(target)} targets are what the model answers already; they count as reached without any change")


def looks_like_probabilities(logits: Tensor) -> bool:
    """Whether all lie in [0, 1], as of a softmax, or of a sigmoid for each class. Log probabilities, at most 0, don't."""
    return ((logits >= 0) & (logits <= 1)).all().item()


def warn(message: str) -> None:
    """An AttackWarning, shown at the line that called the course's code: Python says the same at the same line only once."""
    package, frame, level, last = __name__.partition(".")[0], sys._getframe(), 1, 1
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] == package:
            last = level
        frame, level = frame.f_back, level + 1
    warnings.warn(message, AttackWarning, stacklevel=last + 1)


def in_batches(lent: Lent, part: Callable[..., Tensor], batch: int, *tensors: Tensor) -> Tensor:
    """``part``, which asks ``lent``, of every ``batch`` rows of ``tensors`` (fewer on a CPU), put together again like the first of them."""
    # What a generator made or requires a gradient is an attack's input all the same; inference_mode's can't be differentiated.
    tensors = [values.clone() if values.is_inference() else values.detach() for values in tensors]
    x = tensors[0]
    if x.device.type == "cpu":
        batch = min(batch, _AT_ONCE_ON_A_CPU)
    found = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    for rows in zip(found.split(batch), *(values.split(batch) for values in tensors)):
        rows[0].copy_(part(*rows[1:]))
    lent.note("gradients without NaN", "NaN", found.isnan().any())
    return found
