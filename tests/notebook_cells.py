"""What the cells of a notebook define, taken out of it, so that tests can hold it against the helpers."""
from __future__ import annotations

import ast
import json
from pathlib import Path

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def code(notebook: str) -> list[str]:
    """The code cells of ``notebook``, by the beginning of its file's name, in their order, without the one that installs."""
    path, = NOTEBOOKS.glob(f"{notebook}*.ipynb")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    return [source for source in sources if "%pip" not in source]


def _defined(node: ast.stmt) -> set[str]:
    """The names that a statement gives a meaning to: a function's, a class's, those left of an equals sign."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else []
    return {part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)}


def defined(notebook: str, wanted: tuple[str, ...], given: dict) -> dict:
    """``given`` and what the cells of ``notebook`` define as ``wanted``, as they define it first, and nothing else of them.

    Raises AssertionError, naming them, when some of the names are defined nowhere.
    """
    names, left = dict(given), set(wanted)
    for source in code(notebook):
        for node in ast.parse(source).body:
            if found := _defined(node) & left:
                exec(compile(ast.Module([node], []), f"notebook {notebook}", "exec"), names)
                left -= found
    assert not left, f"notebook {notebook} defines no {', '.join(sorted(left))}"
    return names
