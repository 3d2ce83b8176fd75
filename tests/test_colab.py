"""Google Colab without Google: the stamp on every notebook, and a rehearsal of its first cells."""
from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from notebook_cells import COURSE, stored
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tools.stamp import CELL, ROOT, address, badge, stamp

REPO = "https://github.com/someone/course"
# What Colab had in August 2026. A bound above one of these would make the install cell replace it.
ON_COLAB = {"accelerate": "1.14", "ipywidgets": "7.7.1", "matplotlib": "3.10", "numpy": "2.1", "scikit-learn": "1.6",
            "torch": "2.11.0", "torchvision": "0.26"}


def unstamped() -> nbformat.NotebookNode:
    v4 = nbformat.v4
    said = v4.new_output("stream", name="stdout", text="2\n")
    return v4.new_notebook(cells=[v4.new_markdown_cell("# Title\n\nText"), v4.new_markdown_cell("More text"),
                                  v4.new_code_cell("print(2)", execution_count=1, outputs=[said])])


def test_what_colab_has_is_new_enough():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    bounds = {requirement.name: requirement.specifier for requirement in map(Requirement, project["dependencies"])}
    assert {name: version for name, version in ON_COLAB.items() if version not in bounds[name]} == {}
    assert "3.12" in SpecifierSet(project["requires-python"])


def test_every_notebook_is_stamped():
    repo = address((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    stale = []
    for path in stored():
        notebook = nbformat.read(path, as_version=4)
        stale += [path.name] * (stamp(copy.deepcopy(notebook), path.stem, repo) != notebook)
    assert stale == [], "run `make stamp`"


def test_stamp_adds_badge_cell_and_metadata_and_leaves_the_rest():
    before, after = unstamped(), stamp(unstamped(), "01_demo", REPO)
    link, _, title = after.cells[0].source.partition("\n\n")
    assert link.endswith("/github/someone/course/blob/main/notebooks/01_demo.ipynb)") and title == "# Title\n\nText"
    assert after.cells[2].source == CELL.format(repo=REPO) and REPO in after.cells[2].source
    assert len(after.cells[2].source.splitlines()) <= 9
    assert [cell.source for cell in after.cells[1:2] + after.cells[3:]] == [cell.source for cell in before.cells[1:]]
    assert after.cells[3].outputs == before.cells[2].outputs
    assert after.metadata.accelerator == "GPU" and after.metadata.kernelspec.name == "python3"
    nbformat.validate(after)


def test_stamping_again_changes_nothing_and_a_new_address_replaces_the_old_one():
    once = stamp(unstamped(), "01_demo", REPO)
    assert stamp(copy.deepcopy(once), "01_demo", REPO) == once
    moved = stamp(copy.deepcopy(once), "01_demo", "https://github.com/else/fork.git")
    assert "someone" not in nbformat.writes(moved) and len(moved.cells) == len(once.cells)
    moved.cells.insert(1, nbformat.v4.new_code_cell("x = 1"))
    assert [cell.id for cell in stamp(moved, "01_demo", REPO).cells].index("colab") == 1, "first of the code cells"


@pytest.mark.parametrize("repo", ["https://example.org/a/b", "https://github.com/a", "file:///a/b", ""])
def test_an_address_that_colab_cannot_open_is_refused(repo):
    with pytest.raises(ValueError, match="repository: expected https://github.com/OWNER/NAME"):
        badge(repo, "01_demo")


def test_a_notebook_without_a_title_is_refused():
    with pytest.raises(ValueError, match="01_demo: expected a Markdown cell with the title first, got code"):
        stamp(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")]), "01_demo", REPO)


@pytest.mark.parametrize("there, repo, line", [
    ([], None, ""), (["google/cloud"], None, ""), (["google/colab"], None, REPO),
    (["google/cloud", "google/colab"], "https://github.com/you/fork", "https://github.com/you/fork")])
def test_install_cell_acts_on_colab_only_and_asks_for_the_right_address(tmp_path, there, repo, line):
    for folder in there:
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "__init__.py").touch()
    script = ("from IPython.core.interactiveshell import InteractiveShell\n"
              "shell = InteractiveShell.instance()\n"
              "shell.register_magic_function(lambda line: print('pip', line), magic_name='pip')\n"
              f"shell.run_cell({CELL.format(repo=REPO)!r}).raise_error()")
    settings = {"COURSE_REPO": repo} if repo else {}
    env = clean_environment(PYTHONPATH=str(tmp_path), IPYTHONDIR=str(tmp_path), **settings)
    said = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True).stdout
    assert said.strip() == (f'pip install --quiet "git+{line}"' if line else "")


def test_install_cell_says_what_to_do_where_the_helpers_are_missing(monkeypatch, capsys):
    plain = CELL.format(repo=REPO).replace("    %pip", "    # %pip")  # no magic outside of IPython
    exec(plain, {})
    monkeypatch.setitem(sys.modules, "course_utils", None)  # as where it isn't installed
    with pytest.raises(ModuleNotFoundError, match=r"choose the kernel of the course's \.venv, or run %pip install -e \.\. here .on Kaggle: %pip install git.https"):
        exec(plain, {})
    assert capsys.readouterr().out == ""


def clean_environment(**changes: str) -> dict[str, str]:
    """The environment without what belongs to this run or this checkout, and with ``changes``."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("COURSE_", "PYTHON"))}
    return kept | {"PYTHONNOUSERSITE": "1"} | changes


def course_repository(folder: Path) -> Path:
    """A git repository with the package as it stands in the checkout now, committed or not."""
    folder.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "course_utils", folder / "course_utils", ignore=shutil.ignore_patterns("__pycache__"))
    git = ["git", "-c", "user.name=course", "-c", "user.email=course@example.org"]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "The course"]):
        subprocess.run(git + command, cwd=folder, check=True, capture_output=True)
    return folder


def colab_like_python(folder: Path) -> tuple[str, Path]:
    """A new Python that finds torch and the like already there, but not the course; and its site-packages."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True)
    python = str(folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(subprocess.run([python, "-c", where], check=True, capture_output=True, text=True).stdout.strip())
    for old in site.glob("setuptools*"):  # that of venv would hide, and be older than, the one that torch came with
        shutil.rmtree(old)
    (site / "already_there.pth").write_text(sysconfig.get_path("purelib"))  # .pth files in there aren't followed
    return python, site


def skip_unless(command: list[str]) -> None:
    """Skip the test, saying why, where ``command`` doesn't succeed."""
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"{error}\n{getattr(error, 'stderr', '')}")


PROBE = """\
import json, sys
from pathlib import Path
import course_utils, numpy, torch
from course_utils import runtime
from course_utils.data import load
print(json.dumps({"course": course_utils.__file__, "checkout": str(runtime.checkout()), "pictures": len(load("digits")),
                  "data": str(runtime.data_dir()), "torch": torch.__file__, "numpy": numpy.__file__}))"""


def opening(repo: str) -> nbformat.NotebookNode:
    """The opening of the first notebook: its install cell, the cell that starts the course, and a probe."""
    notebook = nbformat.read(COURSE[0], as_version=4)
    code = [cell for cell in stamp(notebook, "01_demo", repo).cells if cell.cell_type == "code"]
    return nbformat.v4.new_notebook(cells=code[:2] + [nbformat.v4.new_code_cell(PROBE)])


def rehearse(notebook: nbformat.NotebookNode, python: str, folder: Path) -> dict[str, str]:
    """Run ``notebook`` in an empty folder, on ``python`` with a stub of google.colab; return what its probe found."""
    (folder / "stub" / "google" / "colab").mkdir(parents=True)
    (folder / "stub" / "google" / "colab" / "__init__.py").touch()
    kernel = {"argv": [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"], "display_name": "Colab"}
    (folder / "kernels" / "colab").mkdir(parents=True)
    (folder / "kernels" / "colab" / "kernel.json").write_text(json.dumps(kernel))
    (folder / "content").mkdir()
    env = clean_environment(PYTHONPATH=str(folder / "stub"), XDG_CACHE_HOME=str(folder / "cache"),
                            COURSE_REPO=course_repository(folder / "repository").as_uri())
    client = NotebookClient(notebook, kernel_name="colab", resources={"metadata": {"path": str(folder / "content")}})
    client.execute(env=env)
    return json.loads(notebook.cells[-1].outputs[-1].text)


def files_below(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}


def test_rehearsal(tmp_path, monkeypatch):
    python, site = colab_like_python(tmp_path / "colab")
    skip_unless(["git", "--version"])
    skip_unless([python, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(tmp_path), "setuptools"])
    before = {path.name for path in site.iterdir()}
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    found = rehearse(opening(REPO), python, tmp_path)

    assert Path(found["course"]) == site / "course_utils" / "__init__.py" and found["checkout"] == "None"
    assert found["pictures"] > 1000
    new = {path.name.partition("-")[0] for path in site.iterdir() if path.name not in before}
    assert new == {"course_utils", "gan_adversarial_course"}, "nothing else may be installed"
    here = Path(sysconfig.get_path("purelib"))
    assert Path(found["torch"]).is_relative_to(here) and Path(found["numpy"]).is_relative_to(here)
    if sys.platform == "linux":
        assert Path(found["data"]).is_relative_to(tmp_path / "cache")
    assert files_below(site / "course_utils") == files_below(tmp_path / "repository" / "course_utils")
    assert files_below(tmp_path / "content") == set()
