"""What only a GPU can show, in one go of at most eight minutes: `python tools/gpu.py` (or `make gpu`).

Tests that take the device, two notebooks, and rows of the bench with the clock stopped when the GPU is done. Prints a table and keeps
it in `benchmarks/gpu.json`, written anew after every row. A row that fails, or takes too long, says so and doesn't stop the others.

    --device cpu      a rehearsal where there is no GPU
    --data FOLDER     data sets and judges that are there already (COURSE_DATA_DIR)
    --wheels FOLDER   wheels of platformdirs, tqdm, ipywidgets and IPython, for a machine that lacks them and has no network

The package is found beside this file, nothing has to be installed. torch, torchvision, numpy, scipy, scikit-learn, matplotlib,
seaborn, accelerate and pytest have to be there. What is missing of the four others, and in no wheel, is done without.
"""
from __future__ import annotations

import argparse
import json
import linecache
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import types
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "gpu.json"

# What stands in for a package that is missing: as much of it as runs without a person at the screen.
STAND_INS = {
    "platformdirs": {"platformdirs.py": "import os\n\ndef user_cache_dir(name):\n    return os.path.join(os.path.expanduser('~'), '.cache', name)\n"},
    "tqdm": {"tqdm/__init__.py": "", "tqdm/auto.py": (
        "class tqdm:\n    def __init__(self, *args, **settings):\n        pass\n\n    def update(self, n=1):\n        pass\n\n"
        "    def set_postfix(self, *args, **figures):\n        pass\n\n    def close(self):\n        pass\n")},
    "ipywidgets": {"ipywidgets.py": ""},
    "IPython": {"IPython/__init__.py": "def get_ipython():\n    return None\n", "IPython/display.py": "def display(*things, **settings):\n    pass\n\n\nclass DisplayHandle:\n"
                "    def display(self, *things, **settings):\n        pass\n\n    update = display\n"},
}

# ---------------------------------------------------------------- rows, each in a process of its own


def machine(device: str) -> dict:
    """What the figures depend on."""
    import torch

    from benchmarks import report

    figures = report.machine()
    if device.startswith("cuda"):
        about = torch.cuda.get_device_properties(torch.device(device))
        figures |= {"gpu": about.name, "memory in GB": round(about.total_memory / 2**30, 1), "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    return figures


def tests(names: list[str], device: str) -> dict:
    """pytest's count, and of each test that failed the name and the first line of its message."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        ended = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *names], cwd=ROOT, capture_output=True, text=True)
        if not report.exists():
            raise RuntimeError(f"pytest ended with {ended.returncode}: {(ended.stdout + ended.stderr).strip()[-500:]}")
        cases = list(ElementTree.parse(report).iter("testcase"))
    failed = {}
    for case in cases:
        for problem in (*case.iter("failure"), *case.iter("error")):
            failed[case.get("name")] = (problem.get("message") or "").splitlines()[0][:300] if problem.get("message") else "no message"
    skipped = sum(1 for case in cases if case.find("skipped") is not None)
    return {"passed": len(cases) - len(failed) - skipped, "skipped": skipped, "failed": failed}


def notebook(number: str, device: str) -> dict:
    """All cells in their order, without Jupyter. A cell that fails, as a claim that doesn't hold does, doesn't stop the rest."""
    path, = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    module, failed, done = types.ModuleType("__main__"), {}, 0
    sys.modules["__main__"] = module
    for place, source in enumerate(sources, 1):
        if "%pip" in source:
            continue
        name = f"<{path.stem}, cell {place}>"
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)  # for inspect.getsource
        try:
            exec(compile(source, name, "exec"), vars(module))
            done += 1
        except Exception as error:  # noqa: BLE001  whatever it is, it is what the row is for
            failed[f"cell {place}"] = f"{type(error).__name__}: {error}"[:500]
    return {"passed": done, "failed": failed}


def compared(functions: dict[str, Callable[[], object]], device: str, rounds: int, steps: int) -> dict:
    """Milliseconds a step of the course and of the plain way, and how many times as fast the course is."""
    import torch

    from benchmarks import report, timing

    finish = torch.cuda.synchronize if device.startswith("cuda") else None
    plain = next(name for name in functions if name != "course")
    row = report.row("", timing.in_turns(functions, rounds, finish), steps, baseline=plain)
    return {"course, ms": round(row.course, 3), f"{plain}, ms": round(row.baseline, 3), "times as fast": round(row.ratio, 2)}


def game(name: str, device: str) -> dict:
    """A step of a GAN on pictures: the course's against a plain loop."""
    from benchmarks import dcgan, gan_step, loops, wgan_gp
    from course_utils import data

    pictures = data.load("digits").to(device)
    ways, on = {"GAN": lambda: (gan_step.ways(True), pictures), "DCGAN": lambda: (dcgan.ways(True), dcgan.padded(pictures)),
                "WGAN-GP": lambda: (wgan_gp.ways(), pictures)}[name]()
    return compared(loops.contestants(ways, on, 5, device), device, 3, 5)


def attack(name: str, device: str) -> dict:
    """FGSM or PGD of one batch: the course's against a minimal loop, on the net of PyTorch's MNIST example; and the share that each fools."""
    from benchmarks import attacks, peers
    from course_utils import data

    pictures = data.load("digits")
    model = attacks.classifier(pictures, "MNIST example").to(device)
    x, y = (part.to(device) for part in (pictures.images[:attacks.BATCH], pictures.labels[:attacks.BATCH]))
    runs = {who: run for who, run in attacks.attacks({}, model, x, y)[name].items()}
    shares = {f"{who} fools": round(attacks.fooled(model, peers.as_tensor(run()), y), 3) for who, run in runs.items()}
    return compared(runs, device, 5, 1) | shares


def smooth(device: str) -> dict:
    """A step of VAT against the passes that it can't do without."""
    from benchmarks import vat
    from course_utils import data
    from course_utils.vat import vat_loss

    pictures = data.load("digits").to(device)
    model, x = vat.models(pictures)["ConvNet"].to(device), pictures.images[:vat.BATCH]

    def step(loss: Callable) -> None:
        model.zero_grad()
        loss(model, x).backward()

    return compared({"three passes": partial(step, vat.floor), "course": partial(step, partial(vat_loss, eps=vat.EPS))}, device, 5, 1)


# In the order of what is most wanted, with the most seconds that each may take.
ROWS: dict[str, tuple[float, Callable[[str], dict]]] = {
    "machine": (90, machine),
    "tests: devices": (150, partial(tests, ["tests/test_devices.py"])),
    "tests: waits": (150, partial(tests, ["tests/test_waits.py"])),
    "bench: GAN step": (90, partial(game, "GAN")),
    "bench: DCGAN step": (90, partial(game, "DCGAN")),
    "bench: WGAN-GP step": (90, partial(game, "WGAN-GP")),
    "bench: FGSM": (90, partial(attack, "FGSM")),
    "bench: PGD-40": (90, partial(attack, "PGD-40")),
    "bench: VAT step": (90, smooth),
    "notebook: 06": (150, partial(notebook, "06")),
    "notebook: 01": (150, partial(notebook, "01")),
}

# ---------------------------------------------------------------- the run as a whole


def outcome(command: list[str], settings: dict[str, str], limit: float) -> dict:
    """What the last line of ``command`` says as JSON, as ``figures``; or ``error``, what went wrong. And the ``seconds``."""
    began = time.perf_counter()
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, **settings}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True) as process:
        try:
            said, _ = process.communicate(timeout=max(limit, 0.1))
            found = {"figures": json.loads(said.splitlines()[-1])} if process.returncode == 0 else {"error": said.strip()[-800:] or f"ended with {process.returncode}"}
        except subprocess.TimeoutExpired:
            _end(process)
            found = {"error": f"took more than {limit:.0f} s"}
        except (ValueError, IndexError):
            found = {"error": f"no figures: {said.strip()[-300:]}"}
        except BaseException:  # the stop button: nothing of it goes on
            _end(process)
            raise
    return {**found, "seconds": round(time.perf_counter() - began, 1)}


def _end(process: subprocess.Popen) -> None:
    """End the process and all that it began."""
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.communicate()


def bring(folder: Path, wheels: Path | None) -> dict[str, str]:
    """Put what is missing of the four packages into ``folder``: from ``wheels``, else what stands in for it. Says what was done."""
    missing = [name for name in STAND_INS if find_spec(name) is None]
    done = {}
    for name in missing:
        if wheels is not None:
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--find-links", str(wheels), "--target", str(folder), name]
            if subprocess.run(command, capture_output=True).returncode == 0:
                done[name] = "from a wheel"
                continue
        for file, text in STAND_INS[name].items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(text, encoding="utf-8")
        done[name] = "done without"
    return done


def keep(path: Path, result: dict) -> None:
    """Write ``result`` to ``path``, which is at every moment either the old file or the new one."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)


def line(name: str, row: dict) -> str:
    """A row as text; below it what failed."""
    figures = dict(row.get("figures", {}))
    failed = figures.pop("failed", {})
    said = row.get("error", "").strip().splitlines()[-1:] or [", ".join(f"{key} {value}" for key, value in figures.items())]
    state = "FAILED" if "error" in row or failed else "ok"
    return "\n".join([f"{name:20} {state:6} {row['seconds']:6.1f} s  {said[0]}", *(f"{'':28}{where}: {what}" for where, what in failed.items())])


def main(arguments: list[str] | None = None) -> int:
    """Read the command line (or ``arguments``) and run the rows; 0 if none failed, else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, mps, or cpu for a rehearsal")
    parser.add_argument("--minutes", type=float, default=8.0, help="for all rows together")
    parser.add_argument("--data", type=Path, help="folder of data sets and judges")
    parser.add_argument("--wheels", type=Path, help="folder of wheels")
    parser.add_argument("--out", type=Path, default=RESULT, help="file of the figures")
    parser.add_argument("--only", nargs="+", metavar="ROW", default=list(ROWS), help=", ".join(ROWS))
    parser.add_argument("--row", help=argparse.SUPPRESS)  # this process is to do one row
    chosen = parser.parse_args(arguments)
    if unknown := [name for name in chosen.only if name not in ROWS]:
        parser.error(f"--only: expected some of {', '.join(ROWS)}, got {', '.join(unknown)}")
    if chosen.row:
        return do(chosen.row, chosen.device)
    end = time.perf_counter() + 60 * chosen.minutes
    result = {"device": chosen.device, "when": time.strftime("%Y-%m-%d %H:%M:%S %z"), "rows": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        result["packages"] = bring(folder, chosen.wheels)
        settings = {
            "COURSE_DEVICE": chosen.device, "COURSE_DATA_DIR": str(chosen.data.resolve() if chosen.data else folder / "data"),
            "COURSE_BUILD_DIR": str(folder / "build"), "COURSE_STATIC": "1", "COURSE_PROFILE": "quick", "COURSE_SEED": "0", "MPLBACKEND": "Agg",
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])}
        for row in chosen.only:
            left = end - time.perf_counter()
            command = [sys.executable, str(Path(__file__).resolve()), "--device", chosen.device, "--row", row]
            found = outcome(command, settings, min(ROWS[row][0], left)) if left > 0 else {"error": "no time was left", "seconds": 0.0}
            result["rows"][row] = found
            keep(chosen.out, result)
            print(line(row, found), flush=True)
    print(f"written to {chosen.out}")
    return int(any("error" in row or row["figures"].get("failed") for row in result["rows"].values()))


def do(row: str, device: str) -> int:
    """One row; its figures as the last line."""
    sys.path[:0] = [str(ROOT)]
    try:
        figures = ROWS[row][1](device)
    except Exception:  # noqa: BLE001  the other process tells it
        traceback.print_exc()
        return 1
    print(f"\n{json.dumps(figures)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
