"""What stands behind `make run`, `make store` and `make test`: outcome, files left behind, messages."""
from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import conftest
import nbformat
import notebook_cells
import pytest
from nbval.plugin import get_sanitize_patterns

from tools import run, stamp

ROOT = Path(__file__).resolve().parents[1]


def notebook_file(folder: Path, *cells: str) -> Path:
    """A notebook with a title and code ``cells``, none of which has been run."""
    v4 = nbformat.v4
    notebook = v4.new_notebook(cells=[v4.new_markdown_cell("# A title")] + [v4.new_code_cell(c) for c in cells])
    nbformat.write(notebook, folder / "01_demo.ipynb")
    return folder / "01_demo.ipynb"


@pytest.fixture(autouse=True)
def settings(tmp_path, monkeypatch) -> pytest.MonkeyPatch:
    """The settings of a plain `make run`, but for the folders; whatever the run sets is taken back."""
    for name in ("COURSE_PROFILE", "COURSE_SEED"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COURSE_BUILD_DIR", str(tmp_path / "build"))
    monkeypatch.setenv("COURSE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("COURSE_STATIC", "0")
    return monkeypatch


def test_run_writes_html_with_the_outputs_and_leaves_the_notebook_alone(tmp_path, capsys):
    first_cell = "# how static\nimport os\nprint('static', os.environ['COURSE_STATIC'])"
    path = notebook_file(tmp_path, first_cell, "# NBVAL_CHECK_OUTPUT\n21 * 2")
    before = path.read_bytes()
    assert run.main([str(path)]) == 0
    first, second, last = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"01_demo  cell 1/2 +\d+\.\d s  # how static", first) and second.endswith("21 * 2")
    assert re.fullmatch(r"01_demo  done in \d+\.\d s, peak memory 0\.\d\d GiB, .*01_demo\.html", last)
    html = (tmp_path / "build" / "01_demo.html").read_text(encoding="utf-8")
    assert "A title" in html and "static 1" in html and "<pre>42</pre>" in html
    assert path.read_bytes() == before


def test_a_failing_cell_is_named_and_what_ran_before_it_is_written(tmp_path, capsys):
    path = notebook_file(tmp_path, "print('ran')", "x = {}\nx['absent']", "print('never')")
    before = path.read_bytes()
    assert run.main([str(path), "--store"]) == 1
    said = capsys.readouterr()
    assert "cell 2 of 01_demo\n\nx = {}\nx['absent']" in said.err and "KeyError" in said.err and "FAILED" in said.out
    html = (tmp_path / "build" / "01_demo.html").read_text(encoding="utf-8")
    assert "ran" in html and "KeyError" in html
    assert path.read_bytes() == before, "a notebook that failed must not be stored"


def test_a_kernel_that_dies_is_a_failure(tmp_path, capsys):
    assert run.main([str(notebook_file(tmp_path, "import os; os._exit(1)"))]) == 1
    said = capsys.readouterr()
    assert "cell 1 of 01_demo" in said.err and "nan GiB" in said.out


@pytest.mark.parametrize("name, value", [("COURSE_SEED", "1"), ("COURSE_PROFILE", "full")])
def test_store_wants_the_quick_profile_and_seed_0(tmp_path, settings, capsys, name, value):
    settings.setenv(name, value)
    with pytest.raises(SystemExit) as end:
        run.main([str(notebook_file(tmp_path, "1")), "--store"])
    assert end.value.code == 2 and "--store: expected the quick profile and seed 0, got" in capsys.readouterr().err


def test_store_keeps_outputs_counts_and_ids_and_records_the_time(tmp_path, settings):
    kept = []
    settings.setattr(run, "record_time", lambda name, seconds: kept.append((name, seconds)))
    fresh = "import os\nprint(os.listdir(os.environ['COURSE_DATA_DIR']))"
    path = notebook_file(tmp_path, fresh, "import ipywidgets\nipywidgets.IntSlider()")
    ids = [cell.id for cell in nbformat.read(path, as_version=4).cells]
    assert run.main(["--store", str(path)]) == 0
    stored = nbformat.read(path, as_version=4)
    assert [cell.id for cell in stored.cells] == ids
    assert [cell.execution_count for cell in stored.cells[1:]] == [1, 2]
    assert stored.cells[1].outputs[0].text == "[]\n" and stored.cells[2].outputs == []
    assert "widgets" not in stored.metadata and "version" not in stored.metadata.get("language_info", {})
    assert all(not cell.metadata for cell in stored.cells)
    assert kept[0][0] == "01_demo" and kept[0][1] > 0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["01_demo.ipynb", "build"]


def test_times_are_kept_per_notebook_profile_and_device(tmp_path, settings):
    settings.setenv("COURSE_DEVICE", "cpu")
    path = tmp_path / "times.json"
    path.write_text('{"01_demo": {"full": {"cuda": {"seconds": 9.0, "machine": "a GPU"}}}}')
    for profile, seconds in (("quick", 3.14159), ("full", 100)):
        settings.setenv("COURSE_PROFILE", profile)
        run.record_time("01_demo", seconds, path)
    times = json.loads(path.read_text())["01_demo"]
    assert times["quick"]["cpu"] == {"seconds": 3.1, "machine": f"{os.cpu_count()} CPU cores"}
    assert times["full"].keys() == {"cuda", "cpu"} and times["full"]["cuda"]["seconds"] == 9.0


def test_notebooks_are_found_by_number_name_and_path(tmp_path):
    first, second, own, copied = (tmp_path / f"{name}.ipynb" for name in ("01_gan_minimax", "02_dcgan", "Untitled", "01_gan_minimax-Copy1"))
    for path in (first, second, own, copied):
        path.write_bytes(notebook_file(tmp_path).read_bytes())
    assert run.find([], tmp_path) == [first, second], "the course's own"
    for name in ("01", "01_gan_minimax", str(first)):
        assert run.find([name], tmp_path) == [first]
    assert run.find([str(own), str(copied)], tmp_path) == [own, copied], "any other by its path"
    for name in ("3", "Untitled"):
        with pytest.raises(ValueError, match=f"notebook '{name}': expected one of 01_gan_minimax, 02_dcgan$"):
            run.find([name], tmp_path)


def test_stamp_leaves_other_notebooks_alone(tmp_path, settings, capsys):
    (tmp_path / "notebooks").mkdir()
    title = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Title")])
    nbformat.write(title, tmp_path / "notebooks" / "01_gan_minimax.ipynb")
    (tmp_path / "notebooks" / "Untitled.ipynb").write_text("")
    (tmp_path / "pyproject.toml").write_text('[project.urls]\nRepository = "https://github.com/someone/course"\n')
    settings.setattr(stamp, "ROOT", tmp_path)
    settings.setattr(sys, "argv", ["stamp"])
    stamp.main()
    assert capsys.readouterr().out == "1 notebooks: https://github.com/someone/course\n"
    assert (tmp_path / "notebooks" / "Untitled.ipynb").read_text() == ""


# ---------------------------------------------------------------- what `make test` compares


@pytest.fixture
def committed(tmp_path) -> Path:
    """A notebook in a git repository, as it was committed."""
    git = ["git", "-c", "user.name=course", "-c", "user.email=course@example.org"]
    path = notebook_file(tmp_path, "# NBVAL_CHECK_OUTPUT\n1")
    try:
        for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "The course"]):
            subprocess.run(git + command, cwd=tmp_path, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no git: {error}")
    notebook_cells.changed.cache_clear()
    yield path
    notebook_cells.changed.cache_clear()


def cells_of(path: Path) -> list[SimpleNamespace]:
    """What nbval collects of a notebook, as far as it matters here: cells whose outputs it would compare."""
    return [SimpleNamespace(path=path, options={"check": True})]


def test_a_notebook_is_compared_as_long_as_it_equals_the_commit(committed):
    items = cells_of(committed)
    conftest.pytest_collection_modifyitems(items)
    assert items[0].options["check"] is True


def test_a_readers_own_outputs_are_not_compared(committed):
    committed.write_text(committed.read_text().replace('"execution_count": null', '"execution_count": 7'))
    items = cells_of(committed)
    conftest.pytest_collection_modifyitems(items)
    assert notebook_cells.changed(committed) and items[0].options["check"] is False


def test_without_git_or_a_commit_everything_is_compared(committed, monkeypatch):
    committed.write_text("something else")
    (committed.parent / ".git" / "HEAD").unlink()
    assert not notebook_cells.changed(committed)
    notebook_cells.changed.cache_clear()
    monkeypatch.setenv("PATH", str(committed.parent))  # where there is no git
    assert not notebook_cells.changed(committed)


def test_only_the_courses_notebooks_are_collected(tmp_path, monkeypatch):
    own = notebook_file(tmp_path)
    monkeypatch.setattr(conftest, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(conftest, "COURSE", [tmp_path / "02_dcgan.ipynb"])
    for given in (None, ["x"]):
        config = SimpleNamespace(option=SimpleNamespace(ignore=given))
        conftest.pytest_configure(config)
        assert config.option.ignore == [*(given or []), str(own)]


def test_what_is_not_compared_is_said(committed, monkeypatch):
    committed.write_text("something else")
    said = []
    monkeypatch.setattr(conftest, "ROOT", committed.parent)
    report = SimpleNamespace(nodeid=f"{committed.name}::Cell 0")
    conftest.pytest_terminal_summary(SimpleNamespace(stats={"passed": [report]}, write_line=said.append))
    assert said[0] == "course: run and not compared, since they differ from the last commit: 01_demo.ipynb" and len(said) == 2


def test_only_figures_may_differ_in_compared_output():
    patterns = get_sanitize_patterns((ROOT / "tests" / "sanitize.cfg").read_text(encoding="utf-8"))
    assert len(patterns) == 1

    def shown(text: str) -> str:
        for pattern, replacement in patterns:
            text = re.sub(pattern, replacement, text)
        return text

    stored = "1.3  value at the optimum   -1.386 ± 0.01 (40 %)  ✓\nmodes  8 of 8"
    assert shown(stored) == shown("1.3  value at the optimum -1.4e+00 ± 0.2 (9 %)  ✓\nmodes 17 of 8")
    for other in ("1.3  value at the optimum   -1.386 ± 0.01 (40 %)  ✗\nmodes  8 of 8",
                  "1.3  value at the minimum   -1.386 ± 0.01 (40 %)  ✓\nmodes  8 of 8",
                  "1.3  value at the optimum   nan ± 0.01 (40 %)  ✓\nmodes  8 of 8",
                  "1.3  value at the optimum   -1.386 ± 0.01 (40 %)  ✓"):
        assert shown(stored) != shown(other)
