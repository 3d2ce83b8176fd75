"""Spectral normalisation: every layer divided by its largest singular value (Miyato et al. 2018)."""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.utils import parametrizations, parametrize

from course_utils.models.stack import StackedLinear
from course_utils.validate import expect

_TORCHS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Embedding)


class StackedSpectralNorm(nn.Module):
    """What ``torch.nn.utils.parametrizations.spectral_norm`` does to one matrix, for each matrix of a stack.

    (runs, in, out) -> the same shape, every run's matrix divided by an estimate of its largest singular value: one
    round of the power iteration at each call in train mode, going on from the vectors of the call before, and none in
    eval mode (Miyato et al. 2018, algorithm 1).
    """

    left: Tensor
    right: Tensor

    def __init__(self, weight: Tensor, eps: float = 1e-12) -> None:
        super().__init__()
        self.eps = eps
        runs, inputs, outputs = weight.shape
        self.register_buffer("left", normalize(torch.randn(runs, 1, inputs).to(weight), dim=-1))
        self.register_buffer("right", normalize(torch.randn(runs, outputs, 1).to(weight), dim=-2))
        self._iterate(weight, 15)

    @torch.no_grad()
    def _iterate(self, weight: Tensor, rounds: int) -> None:
        for _ in range(rounds):
            self.left.copy_(normalize((weight @ self.right).mT, dim=-1, eps=self.eps))
            self.right.copy_(normalize((self.left @ weight).mT, dim=-2, eps=self.eps))

    def forward(self, weight: Tensor) -> Tensor:
        if self.training:
            self._iterate(weight.detach(), 1)
        left, right = self.left.clone(), self.right.clone()  # the next call changes the buffers, backward needs these
        return weight / (left @ weight @ right)


def spectral_norm(net: nn.Module) -> nn.Module:
    """Normalise every layer with weights of ``net``, changed in place and returned: D becomes 1-Lipschitz, layer by layer.

    Linear layers and convolutions by torch's parametrization, the ``StackedLinear`` of a ``Stack`` run by run.
    (For a convolution the singular value is that of its kernel as a matrix, as in the paper, so only nearly that of the
    layer.) Raises ValueError when ``net`` has no such layer or is normalised already.
    """
    layers = [layer for layer in net.modules() if isinstance(layer, (*_TORCHS, StackedLinear))]
    expect(len(layers) > 0, "net", "at least one linear layer or convolution", type(net).__name__)
    expect(not any(parametrize.is_parametrized(layer, "weight") for layer in layers), "net", "layers not normalised yet", "normalised ones")
    for layer in layers:
        if isinstance(layer, StackedLinear):
            parametrize.register_parametrization(layer, "weight", StackedSpectralNorm(layer.weight))
        else:
            parametrizations.spectral_norm(layer)
    return net
