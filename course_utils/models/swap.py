"""Change one kind of layer of a net, and nothing else: what an ablation needs."""
from __future__ import annotations

import copy
from collections.abc import Callable

from torch import nn

from course_utils.validate import expect


def swap(net: nn.Module, kind: type[nn.Module], make: Callable[[nn.Module], nn.Module]) -> nn.Module:
    """A copy of ``net`` in which every layer that is a ``kind`` has become ``make(layer)``. ``net`` stays as it is.

    Raises ValueError when ``net`` has no such layer: an ablation of nothing would measure nothing.
    """
    changed = copy.deepcopy(net)
    names = [name for name, layer in changed.named_modules() if isinstance(layer, kind) and name]
    expect(len(names) > 0, "kind", f"a kind of layer that the net has ({', '.join(sorted({type(m).__name__ for m in net.modules()}))})", kind.__name__)
    for name in names:
        changed.set_submodule(name, make(changed.get_submodule(name)))
    return changed
