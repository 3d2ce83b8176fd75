"""Figures as a table to read and as a file to keep."""
from __future__ import annotations

import json
import os
import platform
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from benchmarks.timing import Seconds, ratios
from course_utils import runtime


@dataclass(frozen=True)
class Row:
    """One comparison: milliseconds of a step, and how many times as fast the course is."""

    name: str
    course: float
    baseline: float
    ratio: float
    quartiles: tuple[float, float]
    required: float | None

    @property
    def reached(self) -> str:
        """'yes', 'no', or nothing where nothing is required."""
        return "" if self.required is None else "yes" if self.ratio >= self.required else "no"


def row(name: str, seconds: Seconds, steps: int, *, required: float | None = None,
        baseline: str = "baseline", course: str = "course") -> Row:
    """The row of two functions that were timed in turns, ``steps`` steps each."""
    low, ratio, high = ratios(seconds, baseline, course)
    milliseconds = {key: 1000 * statistics.median(values) / steps for key, values in seconds.items()}
    return Row(name, milliseconds[course], milliseconds[baseline], ratio, (low, high), required)


def machine() -> dict[str, object]:
    """What the figures depend on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "system": f"{platform.system()} {platform.machine()}", "cores": cores, "threads": torch.get_num_threads(),
        "cpu capability": torch.backends.cpu.get_cpu_capability(), "torch": torch.__version__, "python": platform.python_version(),
    }


def table(rows: list[Row]) -> str:
    """The rows as text, one line each."""
    width = max(len(row.name) for row in rows)
    lines = [f"{'':{width}}  {'course':>9}  {'baseline':>9}  {'ratio (quartiles)':18}  {'required':8}  reached"]
    for row in rows:
        spread = f"{row.ratio:.2f} ({row.quartiles[0]:.2f} to {row.quartiles[1]:.2f})"
        required = "" if row.required is None else f"{row.required:.3g}" if row.required < 1 else f"{row.required:.1f}"
        lines.append(f"{row.name:{width}}  {row.course:6.2f} ms  {row.baseline:6.2f} ms  {spread:18}  {required:8}  {row.reached}".rstrip())
    return "\n".join(lines)


def write(rows: list[Row], checks: list[str], tried: list[str] | None = None) -> Path:
    """Keep the figures, the lines of ``checks`` and the table of what was ``tried`` in ``bench.json`` of the build folder; returns where."""
    place = runtime.build_dir() / "bench.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    kept = {"machine": machine(), "checks": checks, "tried": tried or [], "rows": [{**asdict(row), "reached": row.reached} for row in rows]}
    place.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return place
