"""Virtual adversarial training (Miyato et al. 2017, arXiv:1704.03976): answer x and its worst neighbour alike, without labels.

The *local distributional smoothness* of a model at x is the KL divergence between what it answers at x and what it
answers at x + r, for the r of length eps that makes this largest (equations 5 and 6). For short r it is r H r / 2, H being
the Hessian at r = 0, so the worst direction is H's top eigenvector. Power iteration finds it (equations 9 to 13): the
gradient of the divergence at r = xi d is nearly xi H d; that becomes the next d. One round is one forward and one backward pass.

**Tiny xi.** The paper's 1e-6 is finer than float32: beside a pixel of 0.5 most of the step is rounded away, and the gradient
of a divergence of 1e-12 is the difference of two nearly equal distributions. So a step is never shorter than about the root
of the machine precision times the length of x (in the limit of small steps the direction doesn't depend on the step), and the
difference of the two distributions is computed from the difference of the logits, which loses nothing where a model is nearly sure.
In the 10 bits of TF32, which GPUs round to by default in convolutions, such a step would drown; so the passes are in full float32.

**Batch norm.** Put pictures with and without labels through in one pass for the supervised cost, as notebook 09 does. Normalised
apart, a net can learn one rule for the few and give all others one and the same answer, which is as smooth as can be.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.module import register_module_forward_pre_hook

from course_utils.precision import full_precision
from course_utils.validate import expect, expect_count, expect_positive

Model = Callable[[Tensor], Tensor]  # pictures or embeddings (B, ...) -> logits (B, K)

_LARGEST_EXPONENT = 80.0  # exp of it is a float32


def vat_loss(
    model: Model, x: Tensor, *, eps: float | Tensor, xi: float = 1e-6, iterations: int = 1, generator: torch.Generator | None = None,
) -> Tensor:
    """Mean divergence between ``model``'s answers at ``x`` and at the worst neighbour in distance ``eps``: a number (), at least 0.

    model       a module, or any function of x; in train or eval mode as the caller set it
    x           (B, ...) floats: pictures, or embedded words. Where x itself has a graph, as embeddings have, the gradient goes on into it
    eps         length (L2, all values of an example together) of the perturbation; a number, or a tensor (B,) with one for each example
    xi          step of the finite difference, see above
    iterations  rounds of power iteration; with 0 the direction is random (the control)
    generator   of the first direction, torch's global stream when None

    The clean distribution has no gradient: the perturbed answer moves to it and not the other way round. Nobody reads a
    label. Parameters gather gradients only by the caller's ``backward``, which adds to what was there. Buffers (the statistics of
    batch norm) stay as they are. Whatever the model draws from torch's global stream (dropout, noise) is the same in all
    passes; afterwards the stream is where one draw of the direction and one pass would leave it. Perturbed pictures are not cut to [0, 1], as in the paper.

    Raises ValueError for arguments that are not so, and for answers that are no logits (B, K).
    """
    radius = _radius(eps, x)
    start = _random_direction(x, xi, iterations, generator)
    with _same_passes(model, x) as (passing, clean):
        d = _direction(passing, x.detach(), clean, start, xi, iterations)
        log_q = F.log_softmax(_wide(passing(x + radius * d)), dim=1)
    return F.kl_div(log_q, F.log_softmax(_wide(clean), dim=1), reduction="batchmean", log_target=True)


def virtual_adversarial(
    model: Model, x: Tensor, *, eps: float | Tensor, xi: float = 1e-6, iterations: int = 1, generator: torch.Generator | None = None,
) -> Tensor:
    """``x`` moved by ``eps`` in the virtual adversarial direction, detached, like ``x``. Arguments and care as for ``vat_loss``."""
    return x.detach() + _radius(eps, x) * virtual_direction(model, x, xi=xi, iterations=iterations, generator=generator)


def virtual_direction(
    model: Model, x: Tensor, *, xi: float = 1e-6, iterations: int = 1, generator: torch.Generator | None = None,
) -> Tensor:
    """The direction, like ``x``, each example of length 1, in which ``model``'s answer changes most. Arguments as for ``vat_loss``.

    An example whose answer doesn't change with x at all keeps its random direction.
    """
    _expect_examples(x)
    start = _random_direction(x, xi, iterations, generator)
    with _same_passes(model, x) as (passing, clean):
        return _direction(passing, x.detach(), clean, start, xi, iterations)


def divergence(model: Model, x: Tensor, moved: Tensor) -> Tensor:
    """KL(model at ``x`` || model at ``moved``) of each example, (B,), without gradient; the same care as for ``vat_loss``."""
    _expect_examples(x)
    expect(isinstance(moved, Tensor) and moved.shape == x.shape, "moved", f"the shape of x, {tuple(x.shape)}", getattr(moved, "shape", moved))
    with torch.no_grad(), _same_passes(model, x) as (passing, clean):
        p, q = (F.log_softmax(_wide(logits), dim=1) for logits in (clean, passing(moved)))
    return F.kl_div(q, p, reduction="none", log_target=True).sum(1).clamp_min(0)


def entropy(model: Model, x: Tensor) -> Tensor:
    """Mean entropy of ``model``'s answers, a number (). The paper's second term where classes don't overlap: VAT + entropy."""
    log_p = F.log_softmax(_wide(model(x)), dim=1)
    return -(log_p.exp() * log_p).sum(1).mean()


# ---- power iteration ---------------------------------------------------------------------------------


def _random_direction(x: Tensor, xi: float, iterations: int, generator: torch.Generator | None) -> Tensor:
    """Where power iteration begins, each example of length 1; before the passes, which put the global stream back."""
    expect_positive(xi, "xi")
    expect_count(iterations, "iterations", at_least=0)
    where = x.device if generator is None else generator.device
    return _unit(torch.randn(x.shape, dtype=x.dtype, generator=generator, device=where).to(x.device))


def _direction(passing: Model, x: Tensor, clean: Tensor, d: Tensor, xi: float, iterations: int) -> Tensor:
    step = _step(x, clean, xi)
    for _ in range(iterations):
        with torch.enable_grad():
            moved = torch.addcmul(x, step, d).requires_grad_()
            logits = passing(moved)
        expect(logits.requires_grad, "model", "torch operations from x to the logits, which have a gradient", "logits without one")
        push = _difference(clean, logits.detach()).to(logits.dtype)
        gradient, = torch.autograd.grad(logits, moved, push, allow_unused=True)
        expect(gradient is not None, "model", "logits that depend on x", "logits that don't")
        d = _unit(gradient, d)
    return d


def _step(x: Tensor, clean: Tensor, xi: float) -> Tensor:
    """``xi`` for each example, or the shortest step that x and the logits can carry: (B, 1, ...)."""
    coarse = max(torch.finfo(x.dtype).eps, torch.finfo(clean.dtype).eps) ** 0.5
    return _column(coarse * x.flatten(1).norm(dim=1).clamp_min(1.0), x).clamp_min(xi)


def _difference(clean: Tensor, moved: Tensor) -> Tensor:
    """softmax(moved) - softmax(clean), each row (K,) times some number above 0, from logits (B, K): the gradient of the
    divergence for the moved logits. Exact where the answers are nearly the same, and where they are nearly sure.

    With t = moved - clean, both shifted so that the likeliest class has t = 0, the difference is p (exp(t) - sum p exp(t)) / sum p exp(t).
    """
    log_p, t = F.log_softmax(_wide(clean), dim=1), _wide(moved) - _wide(clean)
    top = log_p.argmax(1, keepdim=True)
    growth = (t - t.gather(1, top)).clamp_max(_LARGEST_EXPONENT).expm1()  # of each class against the likeliest, whose is 0
    others = log_p.scatter(1, top, -torch.inf)
    scale = others.amax(1, keepdim=True)  # the second likeliest class may have a probability of e-30
    p = (others - scale).exp()
    gain, shrunk = (p * growth).sum(1, keepdim=True), scale.exp()
    return (p * (growth - shrunk * gain)).scatter(1, top, -log_p.gather(1, top).exp() * gain) / (1 + shrunk * gain)


def _unit(values: Tensor, otherwise: Tensor | None = None) -> Tensor:
    """Each example of ``values`` at length 1, however small it is; that of ``otherwise`` where it is 0."""
    flat = values.flatten(1)
    if otherwise is not None:
        largest = flat.abs().amax(1, keepdim=True)
        nothing = (largest == 0).to(flat.dtype)
        flat = flat / (largest + nothing)  # first: the squares of 1e-25 are 0 in float32
        flat = torch.addcmul(flat, nothing, otherwise.flatten(1))
    return (flat / flat.norm(dim=1, keepdim=True)).view_as(values)


# ---- passes that can be compared ---------------------------------------------------------------------


@contextmanager
def _same_passes(model: Model, x: Tensor) -> Iterator[tuple[Model, Tensor]]:
    """A function that is ``model`` with the same random numbers at every call, and its answer at ``x``, without gradient.

    Within, modules in train mode work on copies of their buffers, and products are in full float32. cuDNN is off from the first recurrent
    net on that it can't serve: in eval mode it gives no gradient, and the dropout between its layers doesn't follow torch's stream.
    Afterwards all is as before.
    """
    expect(callable(model), "model", "a function of x that returns logits", type(model).__name__)
    kept: dict[nn.Module, dict[str, Tensor | None]] = {}

    def lend(module: nn.Module, _inputs: object) -> None:
        if isinstance(module, nn.RNNBase) and (not module.training or module.dropout):
            torch.backends.cudnn.enabled = False
        if module.training and module._buffers and module not in kept:
            kept[module] = dict(module._buffers)
            module._buffers.update({name: None if value is None else value.clone() for name, value in kept[module].items()})

    start, cudnn = _streams(x.device), torch.backends.cudnn.enabled

    def passing(values: Tensor) -> Tensor:
        _set_streams(x.device, start)
        return model(values.clone())  # a net may normalise its input in place

    hook = register_module_forward_pre_hook(lend)  # of all modules: it finds those inside a function too
    try:
        with full_precision():
            with torch.no_grad():
                clean = passing(x)
            _expect_logits(clean, x)
            yield passing, clean
    finally:
        hook.remove()
        torch.backends.cudnn.enabled = cudnn
        for module, buffers in kept.items():
            module._buffers.update(buffers)


def _streams(device: torch.device) -> list[Tensor]:
    """The states of torch's global random streams that a model on ``device`` draws from."""
    states = [torch.get_rng_state()]
    if device.type != "cpu":
        states.append(torch.get_device_module(device).get_rng_state(*_which(device)))
    return states


def _set_streams(device: torch.device, states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    if device.type != "cpu":
        torch.get_device_module(device).set_rng_state(states[1], *_which(device))


def _which(device: torch.device) -> tuple[torch.device, ...]:
    return (device,) if device.type == "cuda" else ()  # of MPS there is only one


# ---- shapes and arguments ----------------------------------------------------------------------------


def _wide(logits: Tensor) -> Tensor:
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def _column(values: Tensor, x: Tensor) -> Tensor:
    return values.view(-1, *[1] * (x.ndim - 1))


def _radius(eps: object, x: Tensor) -> Tensor | float:
    """``eps`` in a form that multiplies directions like ``x``."""
    _expect_examples(x)
    if isinstance(eps, Tensor) and eps.ndim:
        expect(eps.shape == (len(x),), "eps", f"a number, or one for each example, ({len(x)},)", f"the shape {tuple(eps.shape)}")
        expect(bool((eps > 0).all() & eps.isfinite().all()), "eps", "finite numbers above 0", eps)
        return _column(eps.to(x), x)
    eps = eps.item() if isinstance(eps, Tensor) else eps
    expect_positive(eps, "eps")
    return eps


def _expect_examples(x: object) -> None:
    expect(isinstance(x, Tensor), "x", "a torch.Tensor (B, …)", type(x).__name__)
    expect(x.is_floating_point(), "x", "floating point numbers: pictures, or words as embeddings", x.dtype)
    expect(x.ndim >= 2 and x.numel() > 0, "x", "the shape (B, …), at least one example", f"the shape {tuple(x.shape)}")


def _expect_logits(logits: object, x: Tensor) -> None:
    shaped = isinstance(logits, Tensor) and logits.ndim == 2 and len(logits) == len(x) and logits.shape[1] >= 2
    expect(shaped, "model", f"logits of the shape ({len(x)}, classes), at least 2 classes", tuple(getattr(logits, "shape", ())) or type(logits).__name__)
