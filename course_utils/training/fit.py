"""Train a classifier."""
from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_utils import runtime
from course_utils.data.imageset import ImageSet
from course_utils.precision import has_bfloat16
from course_utils.training import checkpoint, code
from course_utils.training.contracts import expect_data, expect_logits
from course_utils.training.history import History
from course_utils.training.loop import loop
from course_utils.training.mode import mode
from course_utils.training.optimizers import adam
from course_utils.training.order import EpochOrder
from course_utils.training.processes import Processes
from course_utils.training.settings import bytes_of, describe, tensors_in
from course_utils.validate import expect, expect_count, expect_positive

Loss = Callable[[Callable[[Tensor], Tensor], Tensor, Tensor], Tensor]
MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


def cross_entropy(model: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> Tensor:
    """Mean cross entropy of ``model``'s logits for pictures ``x`` (B, C, H, W) in [0, 1] and labels ``y`` (B,): ().

    Raises ValueError for a model that answers with something else, as GoogLeNet does in training.
    """
    logits = model(x)
    if not isinstance(logits, Tensor):
        parts = ", ".join(vars(logits)) if hasattr(logits, "__dict__") else ", ".join(getattr(logits, "_fields", ()))
        raise ValueError(
            f"loss: expected one that takes this model's answer apart, a {type(logits).__name__}({parts}): "
            "fit(..., loss=lambda model, x, y: F.cross_entropy(model(x).logits, y)), or with auxiliary logits "
            "their cross entropy added, times 0.3 or so"
        )
    return F.cross_entropy(logits, y)


def fit(
    model: nn.Module,
    data: ImageSet,
    *,
    loss: Loss = cross_entropy,
    epochs: int,
    batch: int = 128,
    lr: float = 1e-3,
    optimizer: MakeOptimizer | None = None,
    seed: int | None = None,
    name: str | None = None,
    device: torch.device | str | None = None,
    mixed_precision: bool | None = None,
    progress: bool = True,
    checkpoint_steps: int | None = None,
) -> History:
    """Train ``model`` in place on the ImageSet ``data``; return the History, with ``loss`` at every step.

    model             pictures (B, C, H, W) in [0, 1] -> logits (B, classes). It stays on ``device``
                      afterwards, in the train or eval mode that it came in
    loss              ``loss(model, x, y)``: the mean over the batch, one number
    epochs, batch     an epoch is ``len(data) // batch`` steps; a last batch that isn't full is dropped
    lr                the rate of Adam, unused with an ``optimizer`` of yours
    optimizer         ``optimizer(parameters)`` -> a torch optimizer
    seed              of the order of the pictures; COURSE_SEED when None. Dropout and random attacks draw
                      from torch's global stream: seed it before building the model
    name              of the checkpoint. When None it is made from all settings (of loss and optimizer: their
                      code and what they name), the data and the weights at the start: a cell that seeds and
                      builds its model, interrupted and run again, goes on where it stopped. A name of yours goes on from its checkpoint whatever the
                      weights are, and refuses one of other settings
    device            runtime.device() when None
    mixed_precision   bfloat16 in the forward pass: None for on where a GPU is made for it, off elsewhere
    progress          whether to draw a bar
    checkpoint_steps  steps between two checkpoints, instead of ten seconds

    In several processes (torchrun, accelerate's notebook_launcher) each takes an equal share of every
    batch; ``loss`` then gets the model in a wrapper, to be called only. One process with the same
    ``batch`` gives the same result up to rounding, unless the model has batch norm or dropout.

    Raises ValueError for bad arguments, data that don't fit the model and a checkpoint of other
    settings, TrainingDiverged when the loss or a weight becomes NaN or infinite.
    """
    _expect_arguments(model, loss, epochs, batch, lr, optimizer, mixed_precision)
    expect_data(data)
    expect(batch <= len(data), "batch", f"at most the {len(data)} pictures of the data", batch)
    seed = runtime.base_seed() if seed is None else seed
    expect_count(seed, "seed", at_least=0)
    processes = Processes(runtime.device() if device is None else torch.device(device))
    expect(batch % processes.count == 0, "batch", f"a multiple of the {processes.count} processes", batch)
    half = _use_bfloat16(mixed_precision, processes.device)

    fingerprint, data = data.fingerprint(), data.to(processes.device)
    model.to(processes.device)
    _expect_fitting(model, data)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    opt = adam(trained, lr) if optimizer is None else optimizer(trained)
    order = EpochOrder(len(data), batch, seed, processes.device)
    precision = "bfloat16" if half else "float32"
    config = dict(data=fingerprint, loss=loss, optimizer=optimizer, epochs=epochs, batch=batch)
    config |= dict(seed=seed, precision=precision)
    keep = dict(model=model, optimizer=opt)
    steps = epochs * order.steps_per_epoch
    name = _name_from(steps, config, keep) if name is None else name
    run = loop(steps, name, keep=keep, config=config, checkpoint_steps=checkpoint_steps, progress=progress)
    with mode(model, train=True):
        prepared, share = processes.prepare(model), processes.share(batch)
        for step in run:
            chosen = order.batch(step)[share]
            # No cache: weights cast in a pass without gradient had none in the next (pytorch issues 105211, 112583).
            with torch.autocast(processes.device.type, torch.bfloat16, enabled=half, cache_enabled=False):
                value = loss(prepared, data.images[chosen], data.labels[chosen])
            _descend(value, opt)
            run.log(loss=processes.mean(value))
    processes.share_buffers(model)
    return run.history


def _descend(value: Tensor, opt: torch.optim.Optimizer) -> None:
    number = isinstance(value, Tensor) and value.shape == () and value.requires_grad
    if not number:  # asked first: to print a tensor at every step would wait for the GPU at every step
        raise ValueError(f"loss: expected one number with a gradient, a torch.Tensor of the shape (), got {value!r}")
    opt.zero_grad()
    value.backward()
    opt.step()


def _expect_arguments(model, loss, epochs, batch, lr, optimizer, mixed_precision) -> None:
    expect(isinstance(model, nn.Module), "model", "a torch.nn.Module", type(model).__name__)
    trainable = any(parameter.requires_grad for parameter in model.parameters())
    expect(trainable, "model", "parameters to train", "none")
    expect(callable(loss), "loss", "a function (model, x, y) -> one number", repr(loss))
    expect_count(epochs, "epochs")
    expect_count(batch, "batch")
    expect_positive(lr, "lr")
    usable = optimizer is None or callable(optimizer)
    expect(usable, "optimizer", "None, or a function parameters -> optimizer", repr(optimizer))
    expect(mixed_precision in (None, True, False), "mixed_precision", "None, True or False", repr(mixed_precision))


def _expect_fitting(model: nn.Module, data: ImageSet) -> None:
    """Raise ValueError unless ``model`` takes the pictures and answers one logit per class. Changes nothing."""
    few, before = data.images[:2].clone(), checkpoint.random_state()  # a copy, as a net may change what it gets
    try:
        with mode(model, train=False), torch.no_grad():
            logits = model(few)
    except RuntimeError as reason:
        shape = tuple(few.shape[1:])
        raise ValueError(f"model: expected one for pictures {shape}, got the error: {reason}") from reason
    finally:
        checkpoint.set_random_state(before)
    expect_logits(getattr(logits, "logits", logits), len(few), len(data.classes))


def _use_bfloat16(wanted: bool | None, device: torch.device) -> bool:
    native = has_bfloat16(device)
    if wanted and device.type == "cuda":
        expect(native, "mixed_precision", "False or None on a GPU that has no bfloat16", True)
    return native if wanted is None else wanted


def _name_from(steps: int, config: dict, keep: dict) -> str:
    """A name that no other training has: a hash of every setting and of the weights at the start."""
    text = describe(steps, config, keep)
    functions = {key: value for key, value in text.items() if code.is_digest(value)}
    digest = hashlib.sha256(repr({key: value for key, value in text.items() if key not in functions}).encode())
    for name, tensor in tensors_in(keep["model"].state_dict(), "model"):
        digest.update(name.encode())
        digest.update(bytes_of(tensor))
    begin, end = f"fit-{digest.hexdigest()[:12]}", hashlib.sha256(repr(functions).encode()).hexdigest()[:6]
    _warn_of_other_pythons(begin)
    return f"{begin}-{code.PYTHON}-{end}"


def _warn_of_other_pythons(begin: str) -> None:
    """One line where such a training was interrupted in another Python: it can't go on here."""
    try:
        there = [path.name for path in checkpoint.checkpoint_path(begin).parent.glob(f"{begin}-*.pt")]
    except OSError:  # a folder of somebody else
        return
    if others := [name for name in there if not name.startswith(f"{begin}-{code.PYTHON}-")]:
        code.warn_of_other_python("fit", others[0])
