"""Every notebook checks all its claims, each once, where it is sure to run and its words are compared."""
from __future__ import annotations

import ast
import json
from collections import Counter
from pathlib import Path

import pytest

from course_utils.claims import record

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"


def checks(tree: ast.AST) -> list[ast.Call]:
    """The calls of ``check``, by whatever object."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [call for call in calls if getattr(call.func, "id", getattr(call.func, "attr", "")) == "check"]


def renames_check(tree: ast.AST) -> bool:
    """Whether ``check`` becomes something else than the course's."""
    functions = [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return "check" in functions + [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]


def stated(node: ast.stmt) -> bool:
    """Whether ``node`` is a call of ``check`` and nothing else: with an id in plain sight, and no figure of a part written down."""
    if not (isinstance(node, ast.Expr) and checks(node)[:1] == [node.value]):
        return False
    id_, *parts = node.value.args
    figures = [part.args[1] for part in parts if isinstance(part, ast.Call) and len(part.args) > 1]
    return isinstance(id_, ast.Constant) and not any(isinstance(figure, ast.Constant) for figure in figures)


def claim_problems(cells: list[dict], claims: list[str]) -> list[str]:
    """What in the code ``cells`` of a notebook keeps one of its ``claims`` from being checked, or checks another."""
    found, problems = [], []
    for cell in cells:
        source, tags = "".join(cell["source"]), cell["metadata"].get("tags", [])
        if cell["cell_type"] != "code" or "colab" in tags:
            continue
        tree = ast.parse(source)
        plain = [node.value for node in tree.body if stated(node)]
        problems += [f"not sure to run, or not measured: {ast.unparse(call)[:60]}" for call in checks(tree) if call not in plain]
        problems += ["check gets another meaning"] * renames_check(tree)
        ids = [call.args[0].value for call in plain]
        if ids and ("solution" in tags or "nbval-check-output" not in tags):
            problems.append(f"{', '.join(ids)}: in a cell tagged {tags}")
        found += ids
    counts = Counter(found)
    problems += [f"{id_}: checked {counts[id_]} times" for id_ in claims if counts[id_] != 1]
    return problems + [f"{id_}: no claim of this notebook" for id_ in counts.keys() - set(claims)]


@pytest.mark.parametrize("name", record.notebooks())
def test_every_claim_is_checked_once(name):
    cells = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    assert claim_problems(cells, list(record.notebooks()[name])) == []


GOOD = 'x = 1\ncheck("1.1", at_most("x", x, 2), is_true("so", x == 1), against="nothing")'


def cell(source: str, *tags: str) -> dict:
    return {"cell_type": "code", "source": source, "metadata": {"tags": list(tags or ["nbval-check-output"])}}


@pytest.mark.parametrize("cells, claims", [
    ([cell("x = 1")], ["1.1"]), ([cell(GOOD)], ["1.1", "1.2"]), ([cell(GOOD)], []), ([cell(GOOD), cell(GOOD)], ["1.1"]),
    ([cell(GOOD, "solution", "nbval-check-output")], ["1.1"]), ([cell(GOOD, "other")], ["1.1"]), ([cell(GOOD.replace('"1.1"', "id_"))], []),
    ([cell("if run:\n    " + GOOD.partition("\n")[2])], ["1.1"]), ([cell("def f():\n    " + GOOD.partition("\n")[2])], ["1.1"]),
    ([cell(GOOD.replace("check(", "x and check("))], ["1.1"]), ([cell("# " + GOOD.replace("\n", "\n# "))], ["1.1"]),
    ([cell(GOOD.replace("x, 2", "1.5, 2"))], ["1.1"]), ([cell(GOOD), cell("def check(*_, against): pass")], ["1.1"]),
    ([cell(GOOD), cell("check = print")], ["1.1"])])
def test_a_claim_that_is_not_sure_to_be_checked_is_found(cells, claims):
    assert claim_problems([cell(GOOD)], ["1.1"]) == [] and claim_problems(cells, claims) != []
