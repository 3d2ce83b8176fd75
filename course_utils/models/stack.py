"""Several fully connected nets of one architecture, trained side by side as one."""
from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from course_utils.validate import expect


class StackedLinear(nn.Module):
    """One ``nn.Linear`` for each run, all in one batched product: (runs, B, in) -> (runs, B, out)."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.stack([layer.weight.detach().T for layer in layers]))  # (runs, in, out)
        self.bias = nn.Parameter(torch.stack([layer.bias.detach()[None] for layer in layers]))  # (runs, 1, out)

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x, self.weight)

    def extra_repr(self) -> str:
        runs, inputs, outputs = self.weight.shape
        return f"runs={runs}, in_features={inputs}, out_features={outputs}"


class Stack(nn.Module):
    """``runs`` fully connected nets of the same architecture, each with its own weights, in one computation.

    Called with (runs, B, …) it gives (runs, B, …): slice r went through net r. With (B, …) every net gets
    the same input. Sum the losses over the runs: then each net gets exactly the gradient of its own loss,
    and an elementwise optimiser (Adam, SGD) trains each as if it were alone. On small nets a batched product costs
    half of what ``torch.func.vmap`` over the nets does (``make bench`` has the gain over one net after the other).

    Only ``nn.Linear`` (with bias) may hold weights; other layers have to be elementwise or act on the last axis.
    Raises ValueError for other layers with weights or buffers, an empty list, or different architectures.
    """

    def __init__(self, nets: Sequence[nn.Module]) -> None:
        super().__init__()
        expect(len(nets) > 0, "nets", "at least one net", "none")
        expect(len({repr(net) for net in nets}) == 1, "nets", "nets of one architecture", "different ones")
        expect(not list(nets[0].buffers()), "nets", "nets without buffers", "a net with buffers")
        linear = {name: layer for name, layer in nets[0].named_modules() if isinstance(layer, nn.Linear) and name}
        known = [p for layer in linear.values() for p in layer.parameters()]
        only = len(known) == len(list(nets[0].parameters())) and all(layer.bias is not None for layer in linear.values())
        expect(bool(linear) and only, "nets", "weights in nn.Linear layers with bias only", repr(nets[0]))
        self.runs = len(nets)
        self.nets = copy.deepcopy(nets[0])
        for name in linear:
            self.nets.set_submodule(name, StackedLinear([net.get_submodule(name) for net in nets]))
        self._single = [copy.deepcopy(nets[0])]  # the structure of one; in a list, so that it is no part of the stack
        self._linear = tuple(linear)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim < 3:
            return self.nets(x.expand(self.runs, *x.shape))
        expect(x.shape[0] == self.runs, "x", f"{self.runs} runs in front", f"the shape {tuple(x.shape)}")
        return self.nets(x)

    @torch.no_grad()
    def net(self, run: int) -> nn.Module:
        """A copy of net ``run`` as an ordinary module."""
        expect(0 <= run < self.runs, "run", f"0 to {self.runs - 1}", run)
        single = copy.deepcopy(self._single[0]).to(next(self.parameters()))
        for name in self._linear:
            stacked, layer = self.nets.get_submodule(name), single.get_submodule(name)
            layer.weight.copy_(stacked.weight[run].T)
            layer.bias.copy_(stacked.bias[run, 0])
        return single
