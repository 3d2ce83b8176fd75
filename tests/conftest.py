"""What the test run as a whole does: the order of its files, its number of processes, its last word."""
from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from notebook_cells import COURSE, NOTEBOOKS, changed

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def files() -> list[Path]:
    """The files of the checkout, relative to its folder: those that git has and those that it would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"git doesn't list the checkout's files: {error}")
    return [Path(line) for line in listing.splitlines() if (ROOT / line).is_file()]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two processes where there are two cores; on one core none beside this one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 2 if cores >= 2 else 0


def pytest_configure(config: pytest.Config) -> None:
    config.option.loadscopereorder = False  # else pytest-xdist puts the files with most tests first
    others = [str(path) for path in NOTEBOOKS.glob("*.ipynb") if path not in COURSE]  # Untitled.ipynb, 01_gan_minimax-Copy1.ipynb
    config.option.ignore = [*(config.option.ignore or []), *others]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Notebooks first, the longest of them before all: whatever takes long must not start last.

    Where a reader ran or wrote something, his notebook is run, but its outputs are not held against those that he saved.
    """
    for item in items:
        if item.path.suffix == ".ipynb" and changed(item.path):
            item.options["check"] = False
    times = json.loads((ROOT / "course_utils" / "records" / "times.json").read_text(encoding="utf-8"))

    def seconds(item: pytest.Item) -> float:
        if item.path.suffix != ".ipynb":
            return 0.0
        return times.get(item.path.stem, {}).get("quick", {}).get("cpu", {}).get("seconds", 1.0)

    items.sort(key=seconds, reverse=True)  # stable: within a file the order stays


def pytest_terminal_summary(terminalreporter) -> None:
    """One line above pytest's own: what passed, at which profile and seed."""
    from course_utils import runtime

    passed = [report.nodeid for report in terminalreporter.stats.get("passed", [])]
    cells = [name for name in passed if ".ipynb::" in name]
    notebooks = len({name.partition("::")[0] for name in cells})
    chapters = "1 notebook" if notebooks == 1 else f"{notebooks} notebooks"
    held = claims_held() if cells else 0
    own = sorted({name.partition("::")[0] for name in cells if changed(ROOT / name.partition("::")[0])})
    if own:
        terminalreporter.write_line(f"course: run and not compared, since they differ from the last commit: {', '.join(own)}")
    terminalreporter.write_line(
        f"course: {len(passed) - len(cells)} unit tests, {len(cells)} cells of {chapters}, "
        f"claims held: {held} (profile {runtime.profile()}, seed {runtime.base_seed()})")


def claims_held() -> int:
    """How many claims are on record as holding; `make test` begins with an empty record."""
    from course_utils import runtime
    from course_utils.claims import record

    found = record.folder(runtime.profile(), runtime.base_seed()).glob("*.json")
    return sum(json.loads(path.read_text(encoding="utf-8"))["holds"] for path in found)
