"""Run notebooks without a browser and write them as HTML that can be read in one.

    python tools/run.py                 all notebooks, to build/<name>.html
    python tools/run.py 01 03           those, by number, name or path
    python tools/run.py --store 01      and keep the outputs in the notebook and its time in the package
    python tools/run.py --times 01      and keep its time only: any profile, any device

Pictures are inside the HTML. Formulas are drawn by MathJax, which the page takes from the network;
without one they stay readable as LaTeX. The exit status is 1 if a cell failed.
"""
from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbconvert import HTMLExporter

from course_utils.claims.record import notebooks

ROOT = Path(__file__).resolve().parents[1]
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
NOISE = ("execution", "ExecuteTime", "collapsed", "scrolled", "trusted", "lines_to_next_cell")
PEAK = r"""import re, resource, sys
if sys.platform == "linux":  # where ru_maxrss counts the process that started this one too
    print(int(re.search(r"VmHWM:\s*(\d+)", open("/proc/self/status").read())[1]) / 2**20)
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**30)"""


def find(names: list[str], folder: Path = ROOT / "notebooks") -> list[Path]:
    """The notebooks called ``names`` (number, name or path), for none all those of the course in ``folder``.

    Raises ValueError, listing what there is, for a name that fits no notebook or several.
    """
    there = [path for name in notebooks() if (path := folder / f"{name}.ipynb").is_file()]
    chosen = []
    for name in names:
        fits = [Path(name)] if Path(name).is_file() else [p for p in there if name in (p.stem, p.stem.split("_")[0])]
        if len(fits) != 1:
            raise ValueError(f"notebook {name!r}: expected one of {', '.join(p.stem for p in there) or '(none yet)'}")
        chosen += fits
    return chosen or there


def execute(notebook: nbformat.NotebookNode, name: str, folder: Path) -> tuple[float, str | None]:
    """Run every cell in ``folder``, one line of progress each; outputs go into ``notebook``.

    Returns the kernel's peak memory in GiB (NaN where the system doesn't tell) and what failed, if something did.
    """
    client = NotebookClient(notebook, resources={"metadata": {"path": str(folder)}}, record_timing=False,
                            coalesce_streams=True, timeout=None, extra_arguments=["--log-level=ERROR"])
    code = [index for index, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    with client.setup_kernel():
        for number, index in enumerate(code, 1):
            cell, begun = notebook.cells[index], time.perf_counter()
            print(f"{name}  cell {number}/{len(code)}", end="  ", flush=True)
            try:
                client.execute_cell(cell, index)
            except (CellExecutionError, DeadKernelError) as error:
                print("failed")
                reason = getattr(error, "traceback", error)  # a kernel that died has none
                return peak_memory(client), f"cell {number} of {name}\n\n{cell.source}\n\n{reason}"
            print(f"{time.perf_counter() - begun:5.1f} s  {first_words(cell.source)}")
        return peak_memory(client), None


def first_words(source: str) -> str:
    """The first line of a cell that says something, cut to fit beside the progress."""
    lines = [line for line in source.splitlines() if line.strip() and not line.startswith("# NBVAL_")]
    return lines[0][:60] if lines else ""


def peak_memory(client: NotebookClient) -> float:
    """The kernel's largest resident memory so far, in GiB, asked in a cell that is taken out again."""
    probe = nbformat.v4.new_code_cell(PEAK)
    client.nb.cells.append(probe)
    try:
        client.execute_cell(probe, len(client.nb.cells) - 1, store_history=False)
        return float(probe.outputs[0].text)
    except (CellExecutionError, DeadKernelError):  # no such module (Windows), or no kernel any more
        return float("nan")
    finally:
        client.nb.cells.pop()


def strip(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Take out what belongs to one run and not to the content: widgets, which need a kernel; times; versions.

    Outputs, execution counts, cell ids and tags stay.
    """
    notebook.metadata.pop("widgets", None)
    notebook.metadata.get("language_info", {}).pop("version", None)
    for cell in notebook.cells:
        for key in NOISE:
            cell.metadata.pop(key, None)
        if cell.cell_type == "code":
            cell.outputs = [out for out in cell.outputs if WIDGET_VIEW not in out.get("data", {})]
    return notebook


def write(path: Path, text: str) -> None:
    """Write ``text`` to ``path``, which is at every moment either the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def record_time(name: str, seconds: float, path: Path = ROOT / "course_utils" / "records" / "times.json") -> None:
    """Keep what notebook ``name`` took in this profile on this kind of device; its first cell prints it."""
    import torch

    from course_utils.runtime import device, profile
    machine = {"cpu": f"{os.cpu_count()} CPU cores", "mps": "an Apple GPU"}.get(device().type)
    times = json.loads(path.read_text(encoding="utf-8"))
    entry = {"seconds": round(seconds, 1), "machine": machine or torch.cuda.get_device_name()}
    times.setdefault(name, {}).setdefault(profile(), {})[device().type] = entry
    write(path, json.dumps(times, indent=1, sort_keys=True) + "\n")


def run(path: Path, store: bool, times: bool) -> bool:
    """Run one notebook and write what was asked for; say what it took; True if every cell succeeded."""
    notebook, begun = nbformat.read(path, as_version=4), time.perf_counter()
    peak, failure = execute(notebook, path.stem, path.parent)
    seconds = time.perf_counter() - begun
    page = Path(os.environ.get("COURSE_BUILD_DIR", ROOT / "build")) / f"{path.stem}.html"
    strip(notebook)
    write(page, HTMLExporter(template_name="lab", embed_images=True).from_notebook_node(notebook)[0])
    if failure:
        print(f"\n{failure}\n", file=sys.stderr)
    elif store:
        write(path, nbformat.writes(notebook) + "\n")
    if (store or times) and not failure:
        record_time(path.stem, seconds)
    outcome = "FAILED" if failure else "done"
    print(f"{path.stem}  {outcome} in {seconds:.1f} s, peak memory {peak:.2f} GiB, {os.path.relpath(page)}")
    return not failure


def main(arguments: list[str] | None = None) -> int:
    """Read the command line (or ``arguments``), run the notebooks; 0 if all of them succeeded, else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("notebooks", nargs="*", help="number, name or path; all when none is given")
    parser.add_argument("--store", action="store_true", help="write the outputs into the notebook, and --times")
    parser.add_argument("--times", action="store_true", help="write the time into course_utils/records/times.json")
    args = parser.parse_args(arguments)
    sys.stdout.reconfigure(errors="replace")  # the first line of a cell may have signs that a console lacks
    settings = os.environ.get("COURSE_PROFILE", "quick"), os.environ.get("COURSE_SEED", "0")
    if args.store and settings != ("quick", "0"):
        parser.error("--store: expected the quick profile and seed 0, got the profile %s and seed %s" % settings)
    try:
        paths = find(args.notebooks)
    except ValueError as error:
        parser.error(str(error))
    os.environ["COURSE_STATIC"] = "1"
    with TemporaryDirectory() as fresh:
        if (args.store or args.times) and settings[0] == "quick":  # nothing cached may shorten or change what is kept
            os.environ["COURSE_DATA_DIR"] = fresh
        return 0 if all([run(path, args.store, args.times) for path in paths]) else 1


if __name__ == "__main__":
    sys.exit(main())
