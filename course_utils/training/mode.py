"""Borrow a model for training or evaluation, and give it back as it was."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def mode(model: object, *, train: bool) -> Iterator[None]:
    """``model`` in train or eval mode; afterwards each of its modules in the mode it came in, also after an error.

    A model that is no ``nn.Module`` has no mode and is left alone.
    """
    before = [(part, part.training) for part in model.modules()] if isinstance(model, nn.Module) else []
    try:
        if before:
            model.train(train)
        yield
    finally:
        for part, training in before:
            part.training = training


@contextmanager
def frozen(model: object) -> Iterator[None]:
    """The parameters of ``model`` gather no gradients; afterwards they do as before, also after an error."""
    parameters = list(model.parameters()) if isinstance(model, nn.Module) else []
    before = [parameter.requires_grad for parameter in parameters]
    try:
        for parameter in parameters:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter, wanted in zip(parameters, before):
            parameter.requires_grad_(wanted)
