"""Stamp the repository's address into all notebooks: what makes them open, and install themselves, on Google Colab.

    python tools/stamp.py                                  the address that stands in pyproject.toml
    python tools/stamp.py https://github.com/you/fork      a new one, which is written there too

A notebook gets a badge on top, a first code cell that installs the package (or says how to, where it is missing), and
metadata that asks for a GPU. Nothing else in it changes, and stamping twice is stamping once.
"""
from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import nbformat

from course_utils.claims.record import notebooks

ROOT = Path(__file__).resolve().parents[1]
BADGE = "[![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
CELL = '''\
# On Google Colab this installs the course's helpers; anywhere else it only looks whether they are there.
import os
from importlib.util import find_spec
if find_spec("google") and find_spec("google.colab"):
    repo = os.environ.get("COURSE_REPO", "{repo}")
    %pip install --quiet "git+{{repo}}"
elif not find_spec("course_utils"):
    raise ModuleNotFoundError("This kernel has no course_utils: choose the kernel of the course's .venv, or run %pip install -e .. here "
                              "(on Kaggle: %pip install git+{repo})")'''
COLAB = {"gpuType": "T4", "provenance": [], "toc_visible": True}
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def address(pyproject: str) -> str:
    """The repository's address in the text of a pyproject.toml."""
    return tomllib.loads(pyproject)["project"]["urls"]["Repository"]


def badge(repo: str, name: str) -> str:
    """The line of Markdown that opens ``notebooks/<name>.ipynb`` of a GitHub repository on Colab."""
    match = re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]+?)(\.git)?/?", repo)
    if not match:
        raise ValueError(f"repository: expected https://github.com/OWNER/NAME (Colab opens no other), got {repo}")
    return f"{BADGE}(https://colab.research.google.com/github/{match[1]}/blob/main/notebooks/{name}.ipynb)"


def stamp(notebook: nbformat.NotebookNode, name: str, repo: str) -> nbformat.NotebookNode:
    """Return ``notebook`` with badge, install cell and metadata, or with those it has brought up to date."""
    notebook = nbformat.v4.upgrade(notebook)  # cells have ids only since format 4.5
    title = notebook.cells[0] if notebook.cells else None
    if title is None or title.cell_type != "markdown":
        raise ValueError(f"{name}: expected a Markdown cell with the title first, got {title and title.cell_type}")
    kept = [line for line in title.source.split("\n") if not line.startswith(BADGE)]
    title.source = badge(repo, name) + "\n\n" + "\n".join(kept).lstrip("\n")

    cell = next((c for c in notebook.cells if c.get("id") == "colab"), None)
    if cell is None:
        cell = nbformat.v4.new_code_cell(id="colab", metadata={"tags": ["colab"]})
    cell.source = CELL.format(repo=repo)
    others = [c for c in notebook.cells if c is not cell]
    first = next((i for i, c in enumerate(others) if c.cell_type == "code"), len(others))
    notebook.cells = others[:first] + [cell] + others[first:]

    notebook.metadata.update(accelerator="GPU", colab=dict(COLAB), kernelspec=dict(KERNEL))
    return notebook


def main() -> None:
    """Stamp the course's notebooks; write the new address, if one is given, into pyproject.toml first."""
    pyproject = ROOT / "pyproject.toml"
    text = pyproject.read_text(encoding="utf-8")
    repo = sys.argv[1] if len(sys.argv) > 1 else address(text)
    paths = [path for name in notebooks() if (path := ROOT / "notebooks" / f"{name}.ipynb").is_file()]
    try:
        badge(repo, "")
        stamped = [nbformat.writes(stamp(nbformat.read(path, as_version=4), path.stem, repo)) for path in paths]
    except ValueError as error:
        sys.exit(str(error))
    if repo != address(text):  # a file that stays as it is keeps its date, and make its set-up
        text = re.sub(r'^Repository = ".*"$', f'Repository = "{repo}"', text, flags=re.M)
        pyproject.write_text(text, encoding="utf-8")
    for path, content in zip(paths, stamped):
        path.write_text(content + "\n", encoding="utf-8")
    print(f"{len(paths)} notebooks: {repo}")


if __name__ == "__main__":
    main()
