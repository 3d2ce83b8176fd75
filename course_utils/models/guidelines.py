"""Which of the five guidelines for stable deep convolutional GANs (Radford et al. 2015, section 3) a pair of nets breaks.

The checker watches what the nets do with one batch, not how they were written: a pooling layer and a call of
``max_pool2d`` look the same to it, and the order of the layers is the order in which they run.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from course_utils.training.mode import mode
from course_utils.validate import expect

GUIDELINES = {
    "strided convolutions": "no pooling and no upsampling layers: strided convolutions in D, fractionally strided ones in G",
    "batch norm": "batch norm after every hidden layer of G and of D, D's first layer excepted",
    "no hidden layers": "no fully connected hidden layers",
    "ReLU in G": "ReLU after every layer of G but the last, tanh after that one",
    "LeakyReLU in D": "LeakyReLU after every layer of D but the last",
}
"""The guidelines: a short name, and what it asks for."""

_WEIGHTED = {"conv1d": "conv", "conv2d": "conv", "conv3d": "conv", "linear": "linear",
             "conv_transpose1d": "transposed", "conv_transpose2d": "transposed", "conv_transpose3d": "transposed"}
_RESIZE = ("pool", "interpolate", "upsample", "pixel_shuffle")
_ACTIVATIONS = {"relu", "leaky_relu", "tanh", "sigmoid", "elu", "selu", "celu", "gelu", "silu", "softplus", "prelu", "rrelu",
                "relu6", "mish", "hardtanh", "hardswish", "hardsigmoid", "softsign", "logsigmoid", "softmax"}
_NORMS = {"batch_norm", "instance_norm", "layer_norm", "group_norm", "local_response_norm"}


@dataclass
class Layer:
    """A layer with weights ('conv', 'transposed' or 'linear') and the names of what follows it up to the next."""

    kind: str
    strided: bool
    after: list[str]

    def activation(self) -> str | None:
        """The first non-linearity behind the weights, or None."""
        return next((name for name in self.after if name in _ACTIVATIONS), None)


class _Watch(TorchFunctionMode):
    """Notes the layers that run within it, and every pooling or resizing."""

    def __init__(self) -> None:
        super().__init__()
        self.layers: list[Layer] = []
        self.resized: list[str] = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(function, "__name__", "").rstrip("_")
        if name in _WEIGHTED:
            self.layers.append(Layer(_WEIGHTED[name], _stride(args, kwargs) > 1, []))
        elif name in _ACTIVATIONS | _NORMS and self.layers:
            self.layers[-1].after.append(name)
        elif any(word in name for word in _RESIZE):
            self.resized.append(name)
        return function(*args, **kwargs)


def _stride(args: tuple, kwargs: dict) -> int:
    """The stride of a call ``conv(input, weight, bias, stride, …)``."""
    stride = kwargs.get("stride", args[3] if len(args) > 3 else 1)
    return max(stride) if isinstance(stride, Sequence) else int(stride)


def _watch(net: nn.Module, x: Tensor, name: str) -> tuple[Tensor, _Watch]:
    with mode(net, train=False), torch.no_grad(), _Watch() as seen:
        out = net(x)
    expect(len(seen.layers) >= 2, name, "a net with at least two layers with weights", f"{len(seen.layers)}")
    return out, seen


def broken_guidelines(G: nn.Module, D: nn.Module, latent: int) -> list[str]:
    """The names, keys of ``GUIDELINES``, of those that ``G`` (z (B, ``latent``) to pictures) and ``D`` break; [] for none.

    Both run once, on 2 samples, in eval mode; nothing in them changes. The layer of G that takes z and the one of D
    that gives the verdict may be fully connected: they are not hidden. Raises ValueError for nets with fewer than
    two layers with weights.
    """
    z = torch.zeros(2, latent, device=next(G.parameters()).device)
    pictures, g = _watch(G, z, "G")
    _, d = _watch(D, pictures, "D")
    kept = {
        "strided convolutions": not g.resized + d.resized
                                and any(layer.strided and layer.kind == "transposed" for layer in g.layers)
                                and any(layer.strided and layer.kind == "conv" for layer in d.layers),
        "batch norm": all("batch_norm" in layer.after for layer in g.layers[:-1] + d.layers[1:-1]),
        "no hidden layers": all(layer.kind != "linear" for layer in g.layers[1:] + d.layers[:-1]),
        "ReLU in G": all(layer.activation() == "relu" for layer in g.layers[:-1]) and g.layers[-1].activation() == "tanh",
        "LeakyReLU in D": all(layer.activation() == "leaky_relu" for layer in d.layers[:-1]),
    }
    return [name for name in GUIDELINES if not kept[name]]
