"""Break each helper on purpose, in a copy, and see that the tests notice.

    make breaks                    every entry of tests/breaks.toml
    make breaks TRY=10             ten of them, drawn anew each time
    make breaks TRY=10 SEED=123    the ten that were drawn with this seed

tests/breaks.toml names the file, the text that is replaced, which stands there once, and the tests that have to turn
red. A break counts as noticed only when tests *fail*; a copy that can't even be collected counts as an error of the
list. The tests named are run unbroken first, unless ``--passed`` says that they just passed: they have to.
"""
from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("course_utils", "notebooks", "tests", "tools", "benchmarks", "pyproject.toml", "README.md", "LICENSE", "environment.yml", "Makefile")
AT_ONCE = 2  # as `make test` does with notebooks
TESTS_FAILED = 1  # pytest's exit status; 2 and above mean that it could not run them


def entries() -> list[dict]:
    """The entries of tests/breaks.toml."""
    return tomllib.loads((ROOT / "tests" / "breaks.toml").read_text(encoding="utf-8"))["break"]


def broken(one: dict) -> str:
    """The text of the file that ``one`` names, with the break in it.

    Raises ValueError where there is no such file, the text to break doesn't stand in it exactly once, or nothing is broken.
    """
    path = ROOT / one["file"]
    if not path.is_file():
        raise ValueError(f"there is no {one['file']}")
    # A notebook's text stands in it as JSON has it.
    old, new = (part if path.suffix == ".py" else part.replace('"', '\\"') for part in (one["old"], one["new"]))
    text = path.read_text(encoding="utf-8")
    if text.count(old) != 1:
        raise ValueError(f"expected the text to break once in {one['file']}, got {text.count(old)} times")
    if old == new:
        raise ValueError("expected another text in place of the old one, got the same")
    return text.replace(old, new)


def copy_to(folder: Path) -> None:
    """Put what the tests need into ``folder``."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
        elif source.is_file():
            shutil.copy(source, folder / name)


def run_tests(folder: Path, tests: list[str], *options: str) -> subprocess.CompletedProcess:
    """pytest on ``tests`` with the package of ``folder``, and pytest's ``options``."""
    settings = {"PYTHONPATH": str(folder), "COURSE_DATA_DIR": str(folder / "cache"), "COURSE_BUILD_DIR": str(folder / "build"),
                "OMP_NUM_THREADS": "1", "COURSE_STATIC": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *options, *tests]
    return subprocess.run(command, cwd=folder, env={**os.environ, **settings}, capture_output=True, text=True)


def try_break(one: dict) -> str:
    """'noticed', or what is wrong."""
    try:
        text = broken(one)
    except ValueError as error:
        return f"ERROR: {error}"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_to(folder)
        (folder / one["file"]).write_text(text, encoding="utf-8")
        status = run_tests(folder, one["tests"]).returncode
    return {0: "NOT NOTICED", TESTS_FAILED: "noticed"}.get(status, f"ERROR: pytest ended with {status}")


def chosen(count: int | None, seed: int | None) -> list[dict]:
    """All entries, or ``count`` of them drawn at random; says with which seed, which is drawn too where it is None."""
    if count is None:
        return entries()
    seed = random.randrange(10**6) if seed is None else seed
    print(f"breaks drawn at random; the same ones again: make breaks TRY={count} SEED={seed}", flush=True)
    return random.Random(seed).sample(entries(), min(count, len(entries())))


def expect_to_pass(tests: list[str]) -> None:
    """End the program, with what pytest printed, unless ``tests`` pass unbroken."""
    with tempfile.TemporaryDirectory() as name:
        copy_to(Path(name))
        whole = run_tests(Path(name), tests, "-n", str(AT_ONCE), "--dist", "loadfile")
    if whole.returncode:
        sys.exit(f"The tests have to pass before anything is broken:\n{whole.stdout}")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--try", dest="count", type=int, help="so many entries, drawn at random; all of them otherwise")
    parser.add_argument("--seed", type=int, help="of the draw; a random one otherwise")
    parser.add_argument("--passed", action="store_true", help="all tests passed just now: don't run them unbroken")
    args = parser.parse_args(arguments)
    breaks = chosen(args.count, args.seed)
    if not args.passed:
        expect_to_pass(sorted({test for one in breaks for test in one["tests"]}))
    results = []
    with ThreadPoolExecutor(AT_ONCE) as pool:  # each waits for a process of its own
        for one, result in zip(breaks, pool.map(try_break, breaks)):
            results.append(result)
            print(f"{result:12} {one['what']}", flush=True)
    print(f"{results.count('noticed')} of {len(results)} breaks noticed")
    sys.exit(results.count("noticed") != len(results))


if __name__ == "__main__":
    main()
