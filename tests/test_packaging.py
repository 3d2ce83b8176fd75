"""The repository keeps its own rules: what is installed, what is shipped, who imports whom, how notebooks are stored.

Every rule is a function that lists what breaks it, and is itself tried on something that does.
"""
from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.util import resolve_name
from pathlib import Path

import nbformat
import pytest
import yaml
from notebook_cells import NOTEBOOKS, stored
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from rattler import MatchSpec

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

# ---------------------------------------------------------------- what is installed


def not_lower_bounds(requirements: list[str]) -> list[str]:
    """The requirements that are anything but a name and one ``>=``."""
    parsed = [Requirement(text) for text in requirements]
    return [str(r) for r in parsed if r.url or [s.operator for s in r.specifier] != [">="]]


def test_pyproject_has_lower_bounds_only():
    project, extras = PYPROJECT["project"], PYPROJECT["project"]["optional-dependencies"]
    assert not_lower_bounds(project["dependencies"] + sum(extras.values(), [])) == []
    assert not_lower_bounds(PYPROJECT["build-system"]["requires"]) == []
    assert [s.operator for s in SpecifierSet(project["requires-python"])] == [">="]


def test_an_upper_bound_a_pin_and_a_missing_bound_are_found():
    assert len(not_lower_bounds(["numpy>=1.26,<3", "numpy==1.26", "numpy", "numpy~=1.26", "numpy>=1.26"])) == 4


def environment_problems(text: str) -> list[str]:
    """What is wrong with a conda environment that has to bring Python and leave the rest to pyproject.toml."""
    environment, project = yaml.safe_load(text), PYPROJECT["project"]
    wanted = {"name": project["name"], "channels": ["conda-forge"]}
    problems = [f"{key}: {environment.get(key)}" for key in wanted if environment.get(key) != wanted[key]]
    specs = {s.name.normalized: s for s in (MatchSpec(d) for d in environment["dependencies"] if isinstance(d, str))}
    problems += [f"conda package {name}: is for pyproject.toml" for name in specs.keys() - {"python", "pip"}]
    problems += [f"conda package {name}: missing" for name in {"python", "pip"} - specs.keys()]
    if "python" in specs and specs["python"].version != project["requires-python"]:
        problems.append(f"python {specs['python'].version}: pyproject.toml says {project['requires-python']}")
    pip = [entry for d in environment["dependencies"] if isinstance(d, dict) for entry in d["pip"]]
    everything = f"-e .[{','.join(name for name in project['optional-dependencies'] if name != 'bench')}]"  # no packages to compare with
    return problems + [f"pip: {pip}"] * (pip != [everything])


def test_conda_environment():
    assert environment_problems((ROOT / "environment.yml").read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("before, after", [
    ("python>=3.11", "python>=3.9"), ("python>=3.11", "python=3.11"), ("  - pip\n", "  - pip\n  - numpy>=1.26\n"),
    ("[lab,test]", "[lab]"), ("[lab,test]", "[bench,lab,test]"), ("conda-forge", "defaults"), ("name: gan", "name: dan")])
def test_a_conda_environment_that_drifted_is_found(before, after):
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    assert before in text
    assert environment_problems(text.replace(before, after)) != []

# ---------------------------------------------------------------- what is shipped


def build(kind: str, source: Path, target: Path) -> Path:
    """The 'sdist' or 'wheel' that setuptools makes of the folder ``source``, in the folder ``target``."""
    script = f"import sys; from setuptools.build_meta import build_{kind} as build; build(sys.argv[1])"
    subprocess.run([sys.executable, "-c", script, str(target)], cwd=source, check=True, capture_output=True)
    return next(target.glob("*.whl" if kind == "wheel" else "*.tar.gz"))


def test_wheel_has_all_of_the_package_and_nothing_else(files, tmp_path):
    for file in files:
        (tmp_path / "tree" / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / "tree" / file)
    shutil.unpack_archive(build("sdist", tmp_path / "tree", tmp_path), tmp_path / "sdist")
    wheel = build("wheel", next((tmp_path / "sdist").iterdir()), tmp_path)
    shipped = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert shipped == {file.as_posix() for file in files if file.parts[0] == "course_utils"}


# Folders that exist on one machine only, and where warnings of a kernel come from.
MACHINE = re.compile(r"(?<![\w.~+/=-])/(?:root|home|Users|work|opt|mnt|srv)/\w|ipykernel_\d")


def test_no_file_names_a_folder_of_one_machine(files):
    ours = [file for file in files if file.suffix != ".ipynb" or (ROOT / file).parent != NOTEBOOKS or ROOT / file in stored()]
    texts = {file: (ROOT / file).read_bytes().decode("utf-8", errors="replace") for file in ours}
    assert {str(file): match[0] for file, text in texts.items() if (match := MACHINE.search(text))} == {}
    assert [file for file in files if file.name in ("uv.lock", "pylock.toml", "poetry.lock")] == []


def test_folders_of_one_machine_are_found():
    folder = "/".join(["", "home", "someone", "course"])
    assert MACHINE.search(f"cache = '{folder}'") and MACHINE.search("/tmp/" + "ipykernel" + "_123/1.py:2: Warning")
    assert not MACHINE.search(f"https://example.org{folder} ~/lectures/course")


def test_every_make_target_that_is_named_exists():
    makefile, readme = ((ROOT / name).read_text(encoding="utf-8") for name in ("Makefile", "README.md"))
    targets = set(re.findall(r"^([a-z]+):", makefile, flags=re.M))
    named = set(re.findall(r"(?:`|^\s*)make ([a-z]+)", readme, flags=re.M))
    assert named - targets == set()
    assert set(re.search(r"^\.PHONY: (.*)", makefile, flags=re.M)[1].split()) == targets
    assert targets == set(re.findall(r"^([a-z]+):.*## ", makefile, flags=re.M)), "a target that make help doesn't list"

# ---------------------------------------------------------------- who imports whom

METHODS = {"gan", "attacks", "defenses", "vat", "design", "geometry"}
FOR_NOTEBOOKS = {"plots", "claims", "explore"}  # everything else is what the methods build on


def course_imports(source: str, package: str) -> list[list[str]]:
    """The dotted names below ``course_utils`` that ``source``, the text of a module in ``package``, imports."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            origin = resolve_name("." * node.level + (node.module or ""), package)
            found += [f"{origin}.{alias.name}" for alias in node.names]
    return [name.split(".")[1:] for name in found if name.startswith("course_utils.")]


def wrong_imports(module: str, source: str) -> list[str]:
    """The imports of ``module`` that go up the layers, or into the insides of another part of the course's package."""
    part, wrong = (module.split(".") + [""])[1], []
    for name in course_imports(source, module.rpartition(".")[0]):
        up = name[0] in FOR_NOTEBOOKS and part not in FOR_NOTEBOOKS
        up |= name[0] in METHODS and part not in METHODS | FOR_NOTEBOOKS
        inside = name[0] != part and any(piece.startswith("_") for piece in name)
        wrong += [f"{module} imports {'.'.join(name)}"] * (up or inside)
    return wrong


def test_imports_go_down_and_never_into_the_insides_of_another_part():
    wrong = []
    for path in sorted((ROOT / "course_utils").rglob("*.py")):
        *package, name = path.relative_to(ROOT).with_suffix("").parts
        wrong += wrong_imports(".".join([*package, name]), path.read_text(encoding="utf-8"))
    assert wrong == []


@pytest.mark.parametrize("module, source, wrong", [
    ("course_utils.training", "from course_utils.gan import losses", True),
    ("course_utils.training", "def f():\n    import course_utils.claims", True),
    ("course_utils.models.mlp", "from ..plots import grid", True),
    ("course_utils.models.__init__", "from .. import gan", True),
    ("course_utils.gan.step", "from course_utils import explore", True),
    ("course_utils.gan.step", "from course_utils.attacks.pgd import _project", True),
    ("course_utils.vat", "from course_utils.gan._stack import net", True),
    ("course_utils.plots.curves", "from course_utils.gan.step import _alternate", True),
    ("course_utils.gan.step", "from course_utils.gan.losses import _softplus", False),
    ("course_utils.gan.step", "from .losses import minimax\nfrom course_utils.training import fit", False),
    ("course_utils.defenses.adversarial", "from course_utils.attacks import pgd", False),
    ("course_utils.explore", "from course_utils import plots\nfrom course_utils.gan import step", False),
    ("course_utils.data.digits", "import torch\nfrom course_utils.runtime import data_dir", False)])
def test_imports_in_a_wrong_direction_are_found(module, source, wrong):
    assert bool(wrong_imports(module, source)) is wrong

# ---------------------------------------------------------------- how notebooks are stored

SPEAKS = re.compile(r"^(?:\w+\.)?(?:print|check|display|explore)\(|^plots\.\w+\(|^(?:\w+ = )?runtime\.start\(", flags=re.M)


def notebook_problems(notebook: nbformat.NotebookNode) -> list[str]:
    """What in a stored notebook a reader on GitHub, Colab or paper would stumble over."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    problems = ["metadata.widgets"] * ("widgets" in notebook.metadata)
    if [cell.execution_count for cell in code] != list(range(1, len(code) + 1)):
        problems.append("not run from top to bottom")
    tagged = [cell for cell in code if "algorithm" in cell.metadata.get("tags", [])]
    problems += ["more than one cell tagged algorithm"] * (len(tagged) > 1)
    for number, cell in enumerate(code, 1):
        lines = len(cell.source.splitlines())
        if lines > (30 if cell in tagged else 20):
            problems.append(f"cell {number}: {lines} lines")
        if re.search(r"\bprofile\(|COURSE_PROFILE", cell.source):
            problems.append(f"cell {number}: asks for the profile")
        if SPEAKS.search(cell.source) and not cell.outputs:
            problems.append(f"cell {number}: its output is not stored")
        if any(output.output_type == "error" for output in cell.outputs):
            problems.append(f"cell {number}: stored with an error")
    return problems


def test_notebooks_are_stored_with_what_they_showed():
    found = {path.name: notebook_problems(nbformat.read(path, as_version=4)) for path in stored()}
    assert {name: problems for name, problems in found.items() if problems} == {}


def stored_notebook() -> nbformat.NotebookNode:
    v4 = nbformat.v4
    said = v4.new_output("stream", name="stdout", text="1\n")
    return v4.new_notebook(cells=[v4.new_markdown_cell("# Title"), v4.new_code_cell("x = 1", execution_count=1),
                                  v4.new_code_cell("print(x)", execution_count=2, outputs=[said])])


@pytest.mark.parametrize("spoil", [
    lambda nb: nb.metadata.update(widgets={}),
    lambda nb: nb.cells[1].update(execution_count=None),
    lambda nb: nb.cells[2].update(execution_count=7),
    lambda nb: nb.cells[2].update(outputs=[]),
    lambda nb: nb.cells[1].update(source="x = 1\n" * 21),
    lambda nb: nb.cells[1].update(source="x = 1\n" * 31, metadata={"tags": ["algorithm"]}),
    lambda nb: [cell.update(metadata={"tags": ["algorithm"]}) for cell in nb.cells[1:]],
    lambda nb: nb.cells[1].update(source="if runtime.profile() == 'full': pass"),
    lambda nb: nb.cells[1].update(outputs=[nbformat.v4.new_output("error", ename="E", evalue="", traceback=[])])])
def test_a_spoilt_notebook_is_found(spoil):
    notebook = stored_notebook()
    assert notebook_problems(notebook) == []
    spoil(notebook)
    assert notebook_problems(notebook) != []


def test_the_algorithm_may_take_thirty_lines():
    notebook = stored_notebook()
    notebook.cells[1].update(source="x = 1\n" * 30, metadata={"tags": ["algorithm"]})
    assert notebook_problems(notebook) == []
