"""What stands behind `make seeds`: which cells run, what is kept, and what the table says of claims, errors and words."""
from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest

from tools import seeds

PARTS = 'check("1.2", at_most("a gap", {}, 0.5), at_least("a share", 0.9, 0.8), against="a control")'
FIRST = "from course_utils.claims import at_least, at_most, check\nfrom course_utils import runtime"


def notebook_file(folder: Path, *cells: str, stored: str = "") -> Path:
    """A notebook of code ``cells``, the second last of which stored the text ``stored``; one more cell holds a solution."""
    v4 = nbformat.v4
    code = [v4.new_code_cell(source) for source in cells]
    code[-2].metadata = {"tags": ["nbval-check-output"]}
    code[-2].outputs = [v4.new_output("stream", name="stdout", text=stored)]
    notebook = v4.new_notebook(cells=[*code, v4.new_code_cell("1 / 0", metadata={"tags": ["solution"]})])
    nbformat.write(notebook, folder / "01_demo.ipynb")
    return folder / "01_demo.ipynb"


def kept(folder: Path, seed: int, part: str = "") -> dict:
    return json.loads((folder / "build" / "seeds" / f"01_demo{part}" / f"seed-{seed}.json").read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("COURSE_BUILD_DIR", str(tmp_path / "build"))
    monkeypatch.setattr(seeds, "NICE", 0)


@pytest.mark.parametrize("text, wanted", [("7", [7]), ("10-12", [10, 11, 12]), ("3, 1-2,2", [1, 2, 3])])
def test_seeds_are_numbers_and_ranges(text, wanted):
    assert seeds.seeds_of(text) == wanted


@pytest.mark.parametrize("text", ["", "a", "5-3", "1,,2", "-4"])
def test_other_seeds_are_refused(text):
    with pytest.raises(ValueError, match="seeds: expected"):
        seeds.seeds_of(text)


def test_every_seed_is_run_once_and_the_table_tells_claims_errors_and_words(tmp_path, capsys):
    cells = FIRST, "number = runtime.base_seed()\nassert number != 6, 'not six'", \
        'print(f"{number} falls" if number < 3 else "grows")', PARTS.format("number / 10")
    path = notebook_file(tmp_path, *cells, stored="0 falls\n")
    assert seeds.main([str(path), "--seeds", "2,6"]) == 1
    out = capsys.readouterr().out
    assert "| 1.2 | 1/2 | a gap | 0.2 | 0.4 | 0.6 | at most 0.5 | 6 |" in out
    assert "|  |  | a share | 0.9 | 0.9 | 0.9 | at least 0.8 |  |" in out
    assert "* seed 6, cell 2: AssertionError: not six" in out and "ZeroDivision" not in out
    assert "* seed 6, cell 3: 'grows' for '#falls'" in out and "seed 2, cell" not in out
    before = kept(tmp_path, 2)
    seeds.main([str(path), "--seeds", "2,6"])
    assert kept(tmp_path, 2) == before and "seed 2: " not in capsys.readouterr().out
    notebook_file(tmp_path, *cells[:2], PARTS.format("0.1"))
    assert seeds.main([str(path), "--seeds", "2"]) == 0
    assert kept(tmp_path, 2)["claims"]["1.2"]["parts"][0]["measured"] == 0.1, "cells that changed are run anew"


def test_a_figure_that_is_no_number_is_shown_and_does_not_hold():
    part = {"name": "a gap", "held_against": "at most 0.5"}
    runs = {seed: {"claims": {"1.2": {"holds": holds, "parts": [part | {"measured": measured, "holds": holds}]}}}
            for seed, measured, holds in ((3, 0.1, True), (4, "nan", False))}
    assert seeds.part_rows("1.2", runs) == ["| 1.2 | 1/2 | a gap | nan | nan | nan | at most 0.5 | 4 |"]


def test_one_claim_alone_takes_only_the_cells_it_needs(tmp_path, capsys):
    path = notebook_file(tmp_path, FIRST, "rows, other = [], 1 / 0", "rows = [0.1]", "def grow(values):\n    values.append(0.3)", "grow(rows)",
                         "assert False, 'a cell of no use here'", "name = 'x'\nfor name in 'ab':\n    pass", PARTS.format("rows[-1]"))
    assert seeds.main([str(path), "--seeds", "0", "--claims", "1.2"]) == 0
    assert kept(tmp_path, 0, "-1.2")["claims"]["1.2"]["parts"][0]["measured"] == 0.3
    assert "Raised" not in capsys.readouterr().out


def test_a_run_that_dies_is_named_and_leaves_nothing_behind(tmp_path, capsys):
    path = notebook_file(tmp_path, "import os", "os._exit(3)")
    assert seeds.main([str(path), "--seeds", "0"]) == 1
    assert "01_demo seed 0: FAILED to run" in capsys.readouterr().out
    assert not list((tmp_path / "build" / "seeds" / "01_demo").glob("*"))
