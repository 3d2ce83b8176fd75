"""Run notebooks at many seeds and tabulate how often each claim holds: ``make seeds NB=06 SEEDS=10-29``.

    python tools/seeds.py 06 --seeds 10-29         two runs at a time, one thread each, at low priority
    python tools/seeds.py 02 03 --seeds 7,100-119
    python tools/seeds.py 06 --claims 6.9          only the cells that this claim needs

Each run leaves ``<build>/seeds/<notebook>/seed-<n>.json``, written when it is finished. A seed that is there already, of the
same cells, is not run again: stop whenever you like and go on later. A change of the package is not noticed (``--fresh`` runs
all anew), but the table says of which commits its figures are.

A cell that raises does not stop the run. Beside the claims the table lists what else raised, and cells whose
output nbval compares and whose words are not the stored ones. Cells with solutions are left out.

``--claims`` follows names back from the cells that check them. Cells left out draw no random numbers, so a figure can be that of
another draw than in the whole notebook: good to settle a limit by, while the whole run is the one that judges.
"""
from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # also in a process that runs this file by its path

from tools import run  # noqa: E402

LEFT_OUT = {"colab", "solution"}
NICE = 10  # how far a run stands back behind other work


def seeds_of(text: str) -> list[int]:
    """'7,10-12' as [7, 10, 11, 12]. Raises ValueError for anything else."""
    found: list[int] = []
    for part in text.split(","):
        if not (match := re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)):
            raise ValueError(f"seeds: expected numbers and ranges like 7,10-29, got {text!r}")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ValueError(f"seeds: expected ranges that go up, got {part.strip()}")
        found += range(first, last + 1)
    return sorted(set(found))


def code_cells(path: Path, claims: list[str]) -> list[dict]:
    """The cells of a notebook that a run of many seeds executes: all, or those that ``claims`` need."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    cells = [c for c in cells if c["cell_type"] == "code" and not LEFT_OUT & set(c["metadata"].get("tags", []))]
    return needed(cells, claims) if claims else cells


def needed(cells: list[dict], claims: list[str]) -> list[dict]:
    """The cells that check ``claims``, and those before them that define or change what they name."""
    wanted, kept = set(), []
    for cell in reversed(cells):
        tree = ast.parse("".join(cell["source"]))
        bound, changed = bound_by(tree), changed_by(tree)
        if claims_in(tree) & set(claims) or (bound | changed) & wanted:
            wanted = (wanted - bound) | free_in(tree) | changed & wanted
            kept.append(cell)
    return kept[::-1]


def claims_in(tree: ast.AST) -> set[str]:
    """The claims that a cell checks."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "check"]
    return {call.args[0].value for call in calls if call.args and isinstance(call.args[0], ast.Constant)}


def scoped(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a cell outside its functions and comprehensions, whose names are their own."""
    for node in ast.iter_child_nodes(tree):
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
            yield from scoped(node)


def names(nodes: Iterable[ast.AST], kind: type) -> set[str]:
    return {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, kind)}


def bound_by(tree: ast.Module) -> set[str]:
    """The names that a cell gives a meaning to, those of loops apart."""
    nodes = list(scoped(tree))
    imported = {alias.asname or alias.name.partition(".")[0] for n in nodes if isinstance(n, (ast.Import, ast.ImportFrom)) for alias in n.names}
    defined = {n.name for n in nodes if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
    looped = {name for n in nodes if isinstance(n, ast.For) for name in names(ast.walk(n.target), ast.Store)}
    return imported | defined | names(nodes, ast.Store) - looped


def free_in(tree: ast.Module) -> set[str]:
    """The names that a cell may take from the cells before it."""
    arguments = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    inner = names(ast.walk(tree), ast.Store) - bound_by(tree)
    return names(ast.walk(tree), ast.Load) - arguments - inner


def changed_by(tree: ast.Module) -> set[str]:
    """The names of what a statement of a cell may change: ``fit(net, ...)``, ``rows.append(...)``, ``a[0] = 1``, ``a += 1``."""
    found: set[str] = set()
    for node in scoped(tree):
        calls = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and not shows(node.value.func)
        stores = isinstance(node, (ast.Attribute, ast.Subscript)) and isinstance(node.ctx, ast.Store)
        if calls or stores or isinstance(node, ast.AugAssign):
            found |= {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    return found


def shows(function: ast.expr) -> bool:
    """Whether a call only shows something: print, check, a figure."""
    base = function
    while isinstance(base, ast.Attribute):
        base = base.value
    return isinstance(base, ast.Name) and base.id in ("print", "check", "plots", "print_verdicts", "explore", "display")


def mark(path: Path, claims: list[str]) -> str:
    """A fingerprint of the cells that are run."""
    return hashlib.sha256("\n\n".join("".join(c["source"]) for c in code_cells(path, claims)).encode()).hexdigest()[:12]


def commit() -> str:
    """The commit of the checkout, with a + where files have changed since; '?' without git."""
    try:
        command = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "?"


def words(text: str) -> str:
    """``text`` as nbval compares it: figures replaced."""
    from nbval.plugin import get_sanitize_patterns

    for pattern, replacement in get_sanitize_patterns((ROOT / "tests" / "sanitize.cfg").read_text(encoding="utf-8")):
        text = re.sub(pattern, replacement, text)
    return text


# ---- one run -------------------------------------------------------------------------------------


def run_one(path: Path, place: Path, claims: list[str]) -> None:
    """Execute the cells of ``path`` (those that ``claims`` need) in this process, at COURSE_SEED, and write what was measured to ``place``."""
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output

    from course_utils import runtime
    from course_utils.claims import record

    began, of = time.perf_counter(), commit()
    os.chdir(path.parent)
    shell = InteractiveShell.instance()
    raised, otherwise = [], []
    for number, cell in enumerate(code_cells(path, claims), 1):
        source = "".join(cell["source"])
        with capture_output() as out:
            result = shell.run_cell(source)
        error = result.error_before_exec or result.error_in_exec
        if error is not None and type(error).__name__ != "ClaimFails":
            raised.append(f"cell {number}: {type(error).__name__}: {error}"[:300])
        compared = "nbval-check-output" in cell["metadata"].get("tags", []) or "NBVAL_CHECK_OUTPUT" in source
        if compared and error is None:
            stored = "".join("".join(o["text"]) for o in cell["outputs"] if o.get("name") == "stdout")
            lines = zip(words(stored).splitlines(), words(out.stdout).splitlines())
            otherwise += [f"cell {number}: {now!r} for {then!r}"[:300] for then, now in lines if then != now][:1]
    found = {id_: r for id_, r in record.read(runtime.profile(), runtime.base_seed()).items()
             if (record.folder(runtime.profile(), runtime.base_seed()) / f"{id_}.json").is_file()}
    content = {"cells": mark(path, claims), "commit": of, "seconds": round(time.perf_counter() - began, 1),
               "claims": found, "raised": raised, "text": otherwise}
    run.write(place, json.dumps(content, ensure_ascii=False, indent=1) + "\n")


def start_one(path: Path, seed: int, place: Path, judges: Path, claims: list[str]) -> str:
    """Run one seed in a process of its own; return a line on how it went."""
    with TemporaryDirectory() as folder:
        data = Path(folder, "data")
        data.mkdir()
        (data / "judges").symlink_to(judges, target_is_directory=True)  # the same for every seed; checkpoints are not
        given = {"COURSE_SEED": str(seed), "COURSE_DATA_DIR": str(data), "COURSE_BUILD_DIR": str(Path(folder, "build")), "COURSE_STATIC": "1",
                 "COURSE_PROFILE": "quick", "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, __file__, "--one", str(path), str(place), "--claims", *claims]
        if hasattr(os, "nice"):
            command = ["nice", "-n", str(NICE), *command]
        done = subprocess.run(command, env={**os.environ, **given}, capture_output=True, text=True)
    if done.returncode or not place.is_file():
        return f"{path.stem} seed {seed}: FAILED to run\n{done.stderr[-2000:]}"
    found = json.loads(place.read_text(encoding="utf-8"))
    fails = [id_ for id_, r in found["claims"].items() if not r["holds"]]
    notes = [f"not held: {', '.join(fails)}"] * bool(fails) + [f"raised in {len(found['raised'])} cells"] * bool(found["raised"])
    return f"{path.stem} seed {seed}: {found['seconds']:.0f} s, {len(found['claims'])} claims; {'; '.join(notes) or 'all held'}"


# ---- the table -----------------------------------------------------------------------------------


def show(number: float) -> str:
    return f"{number:.3g}" if isinstance(number, float) else str(number)


def part_rows(id_: str, runs: dict[int, dict]) -> list[str]:
    """A line for each part of claim ``id_``: least, median and greatest figure over the seeds, its limit, the seeds that miss it."""
    rows, there = [], {s: r["claims"][id_] for s, r in runs.items() if id_ in r["claims"]}
    held = f"{sum(r['holds'] for r in there.values())}/{len(runs)}"
    for number in range(max((len(r["parts"]) for r in there.values()), default=0)):
        parts = {s: r["parts"][number] for s, r in there.items() if len(r["parts"]) > number}
        one = next(iter(parts.values()))
        figures = sorted(float(p["measured"]) for p in parts.values())
        spread = (figures[0], statistics.median(figures), figures[-1]) if all(f == f for f in figures) else (float("nan"),) * 3
        missed = " ".join(str(s) for s, p in parts.items() if not p["holds"])
        cells = [id_ if number == 0 else "", held if number == 0 else "", one["name"].replace("|", "\\|"), *map(show, spread), one["held_against"], missed]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def table(name: str, runs: dict[int, dict]) -> str:
    """Markdown: the claims of one notebook over ``runs``, by seed."""
    of = ", ".join(f"{count} of {which}" for which, count in Counter(r["commit"] for r in runs.values()).items())
    ids = sorted({id_ for r in runs.values() for id_ in r["claims"]}, key=lambda id_: [int(p) for p in id_.split(".")])
    always = sum(all(id_ in r["claims"] and r["claims"][id_]["holds"] for r in runs.values()) for id_ in ids)
    lines = [f"## {name}: {always} of {len(ids)} claims hold at all of {len(runs)} seeds", "",
             f"Seeds {' '.join(map(str, runs))}. Runs by commit: {of}.", "",
             "| claim | holds | part | least | median | greatest | limit | missed at |", "|---|---|---|---|---|---|---|---|"]
    lines += [row for id_ in ids for row in part_rows(id_, runs)]
    for key, title in (("raised", "Raised"), ("text", "Words that differ from the stored ones")):
        found = [f"* seed {seed}, {what}" for seed, r in runs.items() for what in r[key]]
        lines += ["", f"{title}:", *found] if found else []
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Read the command line (or ``arguments``), run what is not there yet, print the tables; 0 if every claim held everywhere."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", help="number, name or path; all when none is given")
    parser.add_argument("--seeds", default="10-29", help="numbers and ranges: 7,10-29")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--fresh", action="store_true", help="run also what was run before")
    parser.add_argument("--claims", nargs="*", default=[], help="only the cells that these claims need: 6.9 6.14")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.one:
        run_one(Path(args.one[0]), Path(args.one[1]), args.claims)
        return 0
    try:
        paths, seeds = run.find(args.notebooks), seeds_of(args.seeds)
    except ValueError as error:
        parser.error(str(error))
    folder = Path(os.environ.get("COURSE_BUILD_DIR", ROOT / "build")).resolve() / "seeds"
    (folder / "judges").mkdir(parents=True, exist_ok=True)
    part = "-".join(["", *args.claims])
    places = {(path, seed): folder / f"{path.stem}{part}" / f"seed-{seed}.json" for path in paths for seed in seeds}
    left = [job for job, place in places.items() if args.fresh or not of_now(place, job[0], args.claims)]
    with ThreadPoolExecutor(args.jobs) as pool:
        for line in pool.map(lambda job: start_one(*job, places[job], folder / "judges", args.claims), left):
            print(line, flush=True)
    whole = True
    for path in paths:
        runs = {seed: json.loads(places[path, seed].read_text(encoding="utf-8")) for seed in seeds if of_now(places[path, seed], path, args.claims)}
        text = table(path.stem, runs) if runs else f"## {path.stem}: no run was finished\n"
        run.write(folder / f"{path.stem}{part}.md", text)
        print(text)
        whole &= len(runs) == len(seeds) and all(r["holds"] for one in runs.values() for r in one["claims"].values()) and not any(r["raised"] for r in runs.values())
    return 0 if whole else 1


def of_now(place: Path, path: Path, claims: list[str]) -> bool:
    """Whether ``place`` holds a finished run of the cells that ``path`` has now."""
    return place.is_file() and json.loads(place.read_text(encoding="utf-8"))["cells"] == mark(path, claims)


if __name__ == "__main__":
    sys.exit(main())
