"""The list of breaks fits the code: what it names is there, and is broken in one place. `make breaks` tries them."""
from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tools import breaks

ENTRIES = breaks.entries()
ONE = {"what": "a break", "file": "course_utils/code.py", "old": "x + 1", "new": "x - 1", "tests": ["tests/test_code.py"]}


def problems(entries: list[dict]) -> list[str]:
    """What is wrong with ``entries``, a line each."""
    found = [f"{one['what']}: no {name}" for one in entries for name in one["tests"]
             if not (breaks.ROOT / name.partition("::")[0]).is_file()]
    for one in entries:
        try:
            breaks.broken(one)
        except ValueError as error:
            found.append(f"{one['what']}: {error}")
    return found + [f"{one['what']}: no tests" for one in entries if not one["tests"]]


def test_every_break_has_a_file_one_text_another_text_and_tests():
    assert problems(ENTRIES) == []


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """A checkout with one line of code, whose list of breaks has one entry."""
    monkeypatch.setattr(breaks, "ROOT", tmp_path)
    for folder in ("course_utils", "tests"):
        (tmp_path / folder).mkdir()
    (tmp_path / ONE["file"]).write_text("y = x + 1\n")
    lines = [f'{key} = "{value}"' for key, value in ONE.items() if key != "tests"]
    (tmp_path / "tests" / "breaks.toml").write_text("\n".join(["[[break]]", *lines, f"tests = {ONE['tests']}"]))
    return tmp_path


@pytest.mark.parametrize("text, change, message", [
    ("y = x + 2", {}, "once in course_utils/code.py, got 0 times"), ("y = x + 1, x + 1", {}, "got 2 times"),
    ("y = x + 1", {"new": "x + 1"}, "expected another text"), ("y = x + 1", {"file": "course_utils/gone.py"}, "there is no course_utils/gone.py")])
def test_an_entry_that_no_longer_fits_is_found(checkout, text, change, message):
    (checkout / ONE["file"]).write_text(text)
    with pytest.raises(ValueError, match=message):
        breaks.broken({**ONE, **change})
    assert len(problems([{**ONE, **change}])) == 2, "and it has no tests"


def test_the_text_of_a_notebook_is_looked_for_as_json_has_it(checkout):
    (checkout / "one.ipynb").write_text(r'{"source": ["print(\"a\")"]}')
    changed = breaks.broken({**ONE, "file": "one.ipynb", "old": 'print("a")', "new": 'print("b")'})
    assert changed == r'{"source": ["print(\"b\")"]}'


def test_a_draw_is_repeated_by_the_seed_that_it_prints(capsys):
    first = breaks.chosen(10, None)
    seed = int(capsys.readouterr().out.rpartition("SEED=")[2])
    assert breaks.chosen(10, seed) == first and len({one["what"] for one in first}) == 10
    assert breaks.chosen(10, seed + 1) != first and breaks.chosen(None, None) == ENTRIES


@pytest.mark.parametrize("status, code, said", [
    (1, 0, "noticed      a break\n1 of 1 breaks noticed"), (0, 1, "NOT NOTICED  a break\n0 of 1"), (2, 1, "ERROR: pytest ended with 2 a break\n0 of 1")])
def test_only_tests_that_fail_have_noticed_a_break(checkout, monkeypatch, capsys, status, code, said):
    def run_tests(folder, tests, *options):
        whole = (folder / ONE["file"]).read_text() == "y = x + 1\n"
        assert tests == ONE["tests"] and folder != checkout
        return subprocess.CompletedProcess([], 0 if whole else status)

    monkeypatch.setattr(breaks, "run_tests", run_tests)
    with pytest.raises(SystemExit) as end:
        breaks.main(["--try", "10"])
    assert end.value.code == code and said in capsys.readouterr().out
    assert (checkout / ONE["file"]).read_text() == "y = x + 1\n"


def test_tests_that_fail_without_a_break_are_told_before_anything_is_broken(checkout, monkeypatch):
    monkeypatch.setattr(breaks, "run_tests", lambda *_: subprocess.CompletedProcess([], 1, stdout="1 failed"))
    with pytest.raises(SystemExit, match="have to pass before anything is broken:\n1 failed"):
        breaks.main([])
