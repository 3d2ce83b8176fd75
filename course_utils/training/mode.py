"""Borrow a model for training or evaluation, and give it back as it was."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import get_ident

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook


@contextmanager
def mode(model: object, *, train: bool) -> Iterator[None]:
    """``model`` in train or eval mode; afterwards each of its modules in the mode it came in, also after an error.

    A function, and a frozen or exported model, have no mode and are left alone; for modules within a function see ``at_rest``.
    """
    parts = model.modules() if isinstance(model, nn.Module) else []
    before = {part: part.training for part in parts if hasattr(part, "training")}
    try:
        _switch(model, before, train)
        yield
    finally:
        _switch(model, before, before.get(model))
        for part, training in before.items():
            part.training = training


def _switch(model: object, parts: dict[nn.Module, bool], train: bool | None) -> None:
    """Call ``train`` of a model of which some part is in the other mode: it may do more than to set a flag."""
    if isinstance(model, nn.Module) and train is not None and any(part.training != train for part in parts):
        with suppress(NotImplementedError):  # what torch.export made
            model.train(train)


@contextmanager
def at_rest() -> Iterator[None]:
    """Every module that is called meanwhile is in eval mode, those within a function too: ``lambda x: net((x - mean) / std)``.

    Meant for one call of a model: a training begun meanwhile would be without dropout.
    """
    woken, here = [], get_ident()

    def rest(module: nn.Module, _inputs: object) -> None:
        if get_ident() == here and getattr(module, "training", False):  # another thread may be training
            woken.append(module)
            module.training = False

    hook = register_module_forward_pre_hook(rest)
    try:
        yield
    finally:
        hook.remove()
        for module in woken:
            module.training = True


@contextmanager
def recurrent_without_cudnn() -> Iterator[None]:
    """Recurrent nets in eval mode have a gradient meanwhile, those within a function too: cuDNN gives them none.

    Meant for one call of a model: from its first recurrent layer on cuDNN is off, so convolutions before that keep it.
    """
    before, here = torch.backends.cudnn.enabled, get_ident()

    def switch_off(module: nn.Module, _inputs: object) -> None:
        if get_ident() == here and isinstance(module, nn.RNNBase) and not module.training:
            torch.backends.cudnn.enabled = False

    hook = register_module_forward_pre_hook(switch_off)
    try:
        yield
    finally:
        hook.remove()
        torch.backends.cudnn.enabled = before


@contextmanager
def frozen(*nets: nn.Module) -> Iterator[None]:
    """The parameters of ``nets`` gather no gradients; afterwards they do as before, also after an error."""
    parameters = [parameter for net in nets for parameter in net.parameters()]
    before = [parameter.requires_grad for parameter in parameters]
    try:
        for parameter in parameters:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter, wanted in zip(parameters, before):
            parameter.requires_grad_(wanted)
