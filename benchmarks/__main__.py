"""``python -m benchmarks [--fast]``: first that both ways do the same mathematics, then how long they take."""
from __future__ import annotations

import argparse
import os
from collections.abc import Iterator

# Before torch is imported: threads that wait sleep. Spinning ones can take many times the time beside a busy process.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from benchmarks import gan_step, report, stack, tricks
from benchmarks.same import expect_same
from benchmarks.timing import in_turns, threads
from course_utils import data
from course_utils.data import ImageSet

# gan.py makes G's fakes once for both players; the algorithm of 2014 makes fresh ones for each.
FAKES = {True: "the same fakes for both players", False: "fresh fakes for each player"}
REQUIRED = {True: 1.5, False: None}


def proofs(pictures: ImageSet) -> Iterator[str]:
    """One line for each comparison; ArithmeticError when the two ways end with different weights."""
    for dtype in (torch.float64, torch.float32):
        for reuse, fakes in FAKES.items():
            yield expect_same(gan_step.difference(pictures, reuse, 10, dtype), dtype, f"GAN step, {fakes}")
        yield expect_same(stack.difference(5, 10, dtype), dtype, "5 ring GANs as a stack")


def gan_rows(pictures: ImageSet, count: int, rounds: int) -> Iterator[report.Row]:
    """The picture GAN's step on ``count`` threads."""
    steps = 8
    with threads(count):
        for reuse, fakes in FAKES.items():
            seconds = in_turns(gan_step.contestants(pictures, reuse, steps), rounds)
            yield report.row(f"GAN step, {fakes}, threads: {count}", seconds, steps, required=REQUIRED[reuse])


def trick_rows(pictures: ImageSet, rounds: int) -> Iterator[report.Row]:
    """Each change alone against the plain loop with fresh fakes, on one thread."""
    steps = 4
    with threads(1):
        seconds = in_turns(tricks.contestants(pictures, steps), rounds)
    plain, *others = seconds
    for name in others:
        yield report.row(f"plain loop, {name}, threads: 1", seconds, steps, baseline=plain, course=name)


def stack_rows(rounds: int) -> Iterator[report.Row]:
    """The ring GANs, for two numbers of runs, on one thread."""
    steps = 10
    for runs in (5, 16):
        with threads(1):
            seconds = in_turns(stack.contestants(runs, steps), rounds)
        yield report.row(f"{runs} ring GANs as a stack, threads: 1", seconds, steps, required=1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what the course's helpers gain, as ratios within one run.")
    parser.add_argument("--fast", action="store_true", help="few rounds: seconds, and rougher figures")
    fast = parser.parse_args().fast
    print(", ".join(f"{key}: {value}" for key, value in report.machine().items()), flush=True)
    pictures, checks, rows = data.load("digits"), [], []
    for line in proofs(pictures):
        print(line, flush=True)
        checks.append(line)
    for count in sorted({1, torch.get_num_threads()}):
        rows += gan_rows(pictures, count, 3 if fast else 20)
    rows += trick_rows(pictures, 3 if fast else 12)
    rows += stack_rows(3 if fast else 12)
    print(f"\nA step, median of the rounds\n{report.table(rows)}")
    print(f"written to {report.write(rows, checks)}")


if __name__ == "__main__":
    main()
