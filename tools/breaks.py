"""Break each helper on purpose, in a copy, and see that the tests notice: ``make breaks``.

tests/breaks.toml names the file, the text that is replaced, and the tests that have to turn red. A break counts as
noticed only when tests *fail*; a copy that can't even be collected counts as an error of the list. The tests named are
run unbroken first: they have to pass.
"""
from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("course_utils", "notebooks", "tests", "tools", "benchmarks", "pyproject.toml", "README.md", "LICENSE", "environment.yml", "Makefile")
TESTS_FAILED = 1  # pytest's exit status; 2 and above mean that it could not run them


def copy_to(folder: Path) -> None:
    """Put what the tests need into ``folder``."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
        elif source.is_file():
            shutil.copy(source, folder / name)


def run_tests(folder: Path, tests: list[str]) -> subprocess.CompletedProcess:
    """pytest on ``tests`` with the package of ``folder``."""
    settings = {"PYTHONPATH": str(folder), "COURSE_DATA_DIR": str(folder / "cache"), "COURSE_BUILD_DIR": str(folder / "build"),
                "OMP_NUM_THREADS": "1", "COURSE_STATIC": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    return subprocess.run(command, cwd=folder, env={**os.environ, **settings}, capture_output=True, text=True)


def try_break(one: dict) -> str:
    """'noticed', or what is wrong."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_to(folder)
        path = folder / one["file"]
        text = path.read_text(encoding="utf-8")
        old, new = (part if path.suffix == ".py" else part.replace('"', '\\"') for part in (one["old"], one["new"]))
        if text.count(old) == 0:
            return f"ERROR: {one['file']} has no longer the text to break"
        path.write_text(text.replace(old, new), encoding="utf-8")
        status = run_tests(folder, one["tests"]).returncode
    return {0: "NOT NOTICED", TESTS_FAILED: "noticed"}.get(status, f"ERROR: pytest ended with {status}")


def main() -> None:
    breaks = tomllib.loads((ROOT / "tests" / "breaks.toml").read_text(encoding="utf-8"))["break"]
    wanted = sorted({test for one in breaks for test in one["tests"]})
    with tempfile.TemporaryDirectory() as name:
        copy_to(Path(name))
        whole = run_tests(Path(name), wanted)
    if whole.returncode:
        sys.exit(f"The tests have to pass before anything is broken:\n{whole.stdout}")
    results = []
    for one in breaks:
        results.append(try_break(one))
        print(f"{results[-1]:12} {one['what']}", flush=True)
    print(f"{results.count('noticed')} of {len(results)} breaks noticed")
    sys.exit(results.count("noticed") != len(results))


if __name__ == "__main__":
    main()
