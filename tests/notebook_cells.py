"""What the cells of a notebook define, taken out of it, so that tests can hold it against the helpers."""
from __future__ import annotations

import ast
import json
import subprocess
from functools import cache
from pathlib import Path

from course_utils.claims import record

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
COURSE = [NOTEBOOKS / f"{name}.ipynb" for name in record.notebooks()]


@cache
def changed(path: Path) -> bool:
    """Whether git says that the notebook differs from the last commit: somebody's own work. False where git can't tell."""
    try:  # not `git diff`, which outside of a repository compares files
        status = subprocess.run(["git", "status", "--porcelain", "--", path.name], cwd=path.parent, capture_output=True, text=True)
    except OSError:  # no git
        return False
    return status.returncode == 0 and "M" in status.stdout[:2]  # modified, in the index or beside it


def stored() -> list[Path]:
    """The course's notebooks that are as they were committed: what is stored in the others is the reader's own affair."""
    return [path for path in COURSE if not changed(path)]


def code(notebook: str) -> list[str]:
    """The code cells of ``notebook``, by the beginning of its file's name, in their order, without the one that installs."""
    path, = (path for path in COURSE if path.name.startswith(notebook))
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
