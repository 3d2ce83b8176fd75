"""Several nets of one architecture, trained side by side as one."""
from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from course_utils.validate import expect


class Stack(nn.Module):
    """``runs`` nets of the same architecture, each with its own weights, in one batched computation.

    Called with (runs, B, …) it gives (runs, B, …): slice r went through net r. With (B, …) every net gets
    the same input. Sum the losses over the runs: then each net gets exactly the gradient of its own loss,
    and an elementwise optimiser (Adam, SGD) trains each as if it were alone.

    Raises ValueError for an empty list, different architectures, or nets with buffers (batch-norm
    statistics would be shared between calls in ways that one net alone does not have).
    """

    def __init__(self, nets: Sequence[nn.Module]) -> None:
        super().__init__()
        expect(len(nets) > 0, "nets", "at least one net", "none")
        expect(len({repr(net) for net in nets}) == 1, "nets", "nets of one architecture", "different ones")
        expect(not list(nets[0].buffers()), "nets", "nets without buffers", "a net with buffers")
        stacked, _ = stack_module_state(list(nets))
        self.runs = len(nets)
        self._names = list(stacked)
        self.weights = nn.ParameterList(nn.Parameter(stacked[name].detach()) for name in self._names)
        # The structure only; in a list, so that its weights are not counted as the stack's own.
        self._template = [copy.deepcopy(nets[0]).to("meta")]

    def forward(self, x: Tensor) -> Tensor:
        own_input = x.ndim >= 3
        if own_input:
            expect(x.shape[0] == self.runs, "x", f"{self.runs} runs in front", f"the shape {tuple(x.shape)}")
        weights = dict(zip(self._names, self.weights))
        call = lambda w, v: functional_call(self._template[0], w, (v,))  # noqa: E731
        return vmap(call, in_dims=(0, 0 if own_input else None), randomness="different")(weights, x)

    def extra_repr(self) -> str:
        return f"runs={self.runs}, net={self._template[0]}"

    @torch.no_grad()
    def net(self, run: int) -> nn.Module:
        """A copy of net ``run`` as an ordinary module."""
        expect(0 <= run < self.runs, "run", f"0 to {self.runs - 1}", run)
        single = copy.deepcopy(self._template[0]).to_empty(device=self.weights[0].device)
        single.load_state_dict({name: w[run].clone() for name, w in zip(self._names, self.weights)})
        return single
