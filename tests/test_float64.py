"""Float64 is asked for on the CPU only: Apple's GPU, chosen by default where there is one, has no such numbers."""
from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from course_utils.claims import record

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted((ROOT / "course_utils").rglob("*.py"))
# What makes a tensor from numbers, on the CPU unless it is told otherwise. The others keep their argument's device.
MAKERS = {"arange", "empty", "eye", "full", "linspace", "ones", "rand", "randint", "randn", "tensor", "zeros"}


def is_double(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Attribute) and node.attr in ("float64", "double")


def on_cpu(node: ast.AST) -> bool:
    """Whether the expression ``node`` is sure to be a tensor on the CPU: it goes through ``.cpu()``, or is made there."""
    if isinstance(node, ast.IfExp):  # on the CPU where the device is Apple's
        return "'mps'" in ast.unparse(node.test) and on_cpu(node.body)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        of_torch = isinstance(node.func.value, ast.Name) and node.func.value.id == "torch"
        device = next((key.value for key in node.keywords if key.arg == "device"), None)
        if isinstance(device, ast.Constant):
            return device.value == "cpu"
        if of_torch:
            return device is None and node.func.attr in MAKERS
        return node.func.attr == "cpu" or (node.func.attr != "to" and on_cpu(node.func.value))
    if isinstance(node, (ast.Attribute, ast.Subscript)):
        return on_cpu(node.value)
    return False


def doubles_on_a_device(source: str) -> list[str]:
    """The expressions in ``source`` that ask for float64 where the tensor may lie on a GPU."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        method, dtypes = node.func.attr, [*node.args, *(key.value for key in node.keywords if key.arg == "dtype")]
        if method == "double" and not node.args:
            right = on_cpu(node.func.value)
        elif method in ("to", "type") and any(map(is_double, dtypes)):
            right = on_cpu(node.func.value) and len(node.args) < 2
        elif any(map(is_double, dtypes)) and "torch" in ast.unparse(node.func.value):
            right = on_cpu(node)
        else:
            continue
        found += [] if right else [ast.unparse(node)]
    return found


@pytest.mark.parametrize("name", record.notebooks())
def test_notebooks_ask_for_float64_on_the_cpu(name):
    cells = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code" and "colab" not in cell["metadata"].get("tags", [])]
    assert {text for source in sources for text in doubles_on_a_device(source)} == set()


def test_the_package_asks_for_float64_on_the_cpu():
    found = {str(path.relative_to(ROOT)): doubles_on_a_device(path.read_text(encoding="utf-8")) for path in MODULES}
    assert {name: texts for name, texts in found.items() if texts} == {}


@pytest.mark.parametrize("source, right", [
    ("x.double()", False), ("x.cpu().double()", True), ("x.double().cpu()", False), ("x.cpu().flatten(1)[3].double()", True), ("x.cpu().to(y).double()", False),
    ("(x == y).double().mean()", False), ("(x == y).cpu().double().mean()", True), ("x.to(torch.float64)", False), ("x.cpu().to(torch.float64)", True),
    ("x.to('cpu', torch.float64)", False), ("x.to(dtype=torch.double)", False), ("torch.randn(3).double()", True), ("torch.rand_like(x, dtype=torch.float64)", False),
    ("torch.randn(3, dtype=torch.float64)", True), ("torch.randn(3, dtype=torch.float64, device=x.device)", False), ("torch.as_tensor(x, dtype=torch.float64)", False),
    ("torch.as_tensor(x, dtype=torch.float64, device='cpu')", True), ("(x.cpu() if x.device.type == 'mps' else x).double()", True),
    ("(x if a else x.cpu()).double()", False), ("copy.deepcopy(net).cpu().double()", True), ("x.float()", True), ("numpy.zeros(3, dtype=numpy.float64)", True)])
def test_float64_on_a_device_is_found(source, right):
    assert (doubles_on_a_device(source) == []) is right
