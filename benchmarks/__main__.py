"""``python -m benchmarks [--fast] [gan] [attacks] [vat]``: first that both ways do the same, then how long they take."""
from __future__ import annotations

import argparse
import os
from collections.abc import Iterator

# Before torch is imported: threads that wait sleep. Spinning ones can take many times the time beside a busy process.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from benchmarks import attacks, dcgan, gan_step, peers, report, sizes, stack, stumbles, tricks, vat, wgan_gp
from benchmarks.loops import Way, contestants, difference
from benchmarks.same import expect_same
from benchmarks.timing import in_turns, threads
from course_utils import data
from course_utils.data import ImageSet

# gan.py and dcgan.py make G's fakes once for both players; the algorithm of 2014 makes fresh ones for each.
FAKES = {True: "the same fakes for both players", False: "fresh fakes for each player"}


def proofs(pictures: ImageSet) -> Iterator[str]:
    """One line for each comparison; ArithmeticError when the two ways end with different weights."""
    padded = dcgan.padded(pictures)
    for dtype in (torch.float64, torch.float32):
        for reuse, fakes in FAKES.items():
            yield expect_same(difference(gan_step.ways(reuse), pictures, 10, dtype), dtype, f"GAN step, {fakes}")
            yield expect_same(difference(dcgan.ways(reuse), padded, 3, dtype, batch=16), dtype, f"DCGAN step, {fakes}")
        yield expect_same(difference(wgan_gp.ways(), pictures, 3, dtype), dtype, "WGAN-GP step")
        yield expect_same(stack.difference(5, 10, dtype), dtype, "5 ring GANs as a stack")


def gan_rows(pictures: ImageSet, count: int, rounds: int) -> Iterator[report.Row]:
    """The steps of three picture GANs on ``count`` threads: plain loop against the course's way."""
    padded = dcgan.padded(pictures)

    def compare(name: str, ways: dict[str, Way], on: ImageSet, steps: int, required: float | None) -> report.Row:
        with threads(count):
            seconds = in_turns(contestants(ways, on, steps), rounds)
        return report.row(f"{name}, threads: {count}", seconds, steps, required=required)

    for reuse, fakes in FAKES.items():
        yield compare(f"GAN step, {fakes}", gan_step.ways(reuse), pictures, 8, 1.5 if reuse else None)
    for reuse, fakes in FAKES.items():
        yield compare(f"DCGAN step, {fakes}", dcgan.ways(reuse), padded, 1, 1.4)
    yield compare("WGAN-GP, five critic steps and one of G", wgan_gp.ways(), pictures, 1, 1.7)


def trick_rows(pictures: ImageSet, rounds: int) -> Iterator[report.Row]:
    """Each change alone against the plain loop, on one thread: of the GAN with fresh fakes, of the others as they come."""
    comparisons = {
        "GAN": (tricks.ways(), pictures, 4), "DCGAN": (dcgan.changes(), dcgan.padded(pictures), 1),
        "WGAN-GP": (wgan_gp.changes(), pictures, 1),
    }
    for gan, (ways, on, steps) in comparisons.items():
        with threads(1):
            seconds = in_turns(contestants(ways, on, steps), rounds)
        plain, *others = seconds
        for name in others:
            yield report.row(f"{gan}, plain loop, {name}, threads: 1", seconds, steps, baseline=plain, course=name)


def size_rows(pictures: ImageSet, rounds: int) -> Iterator[report.Row]:
    """The course's DCGAN against others of the same sizes, on one thread."""
    steps = contestants(sizes.steps(), dcgan.padded(pictures), 1)
    for what, functions in (("G forward and backward", sizes.passes()), ("step", steps)):
        with threads(1):
            seconds = in_turns(functions, rounds)
        course, *others = seconds
        for name in others:
            title, required = f"course's DCGAN, {what}, against {name}, threads: 1", 2.0 if name in sizes.TWICE_AS_DEAR else None
            yield report.row(title, seconds, 1, baseline=name, course=course, required=required)


def stack_rows(rounds: int) -> Iterator[report.Row]:
    """The ring GANs, for two numbers of runs, on one thread."""
    steps = 10
    for runs in (5, 16):
        with threads(1):
            seconds = in_turns(stack.contestants(runs, steps), rounds)
        yield report.row(f"{runs} ring GANs as a stack, threads: 1", seconds, steps, required=1.0)


def of_gans(fast: bool) -> tuple[list[report.Row], list[str]]:
    """Rows and proofs of everything that trains GANs."""
    pictures, checks, rows = data.load("digits"), [], []
    for line in proofs(pictures):
        print(line, flush=True)
        checks.append(line)
    for count in sorted({1, torch.get_num_threads()}):
        rows += gan_rows(pictures, count, 3 if fast else 12)
    rows += trick_rows(pictures, 3 if fast else 8)
    rows += stack_rows(3 if fast else 12)
    rows += size_rows(pictures, 3 if fast else 8)
    return rows, checks


def of_attacks(fast: bool) -> tuple[list[report.Row], list[str]]:
    """Rows and successes of the attacks."""
    if "MALLOC_TOP_PAD_" not in os.environ:
        print("MALLOC_TRIM_THRESHOLD_ and MALLOC_TOP_PAD_ are not set, as `make bench` does: glibc gives memory back and fetches it again, and figures vary")
    return attacks.measure(fast)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what the course's helpers gain, as ratios within one run.")
    parser.add_argument("--fast", action="store_true", help="few rounds: seconds, and rougher figures")
    parser.add_argument("parts", nargs="*", default=[], metavar="part", help="gan, attacks, vat; all when none is named")
    chosen, parts = parser.parse_args(), {"gan": of_gans, "attacks": of_attacks, "vat": vat.measure}
    if unknown := set(chosen.parts) - set(parts):
        parser.error(f"no such part: {', '.join(sorted(unknown))} (there are {', '.join(parts)})")
    print(", ".join(f"{key}: {value}" for key, value in report.machine().items()), flush=True)
    rows, checks, tried = [], [], []
    for name in chosen.parts or parts:
        more_rows, more_checks = parts[name](chosen.fast)
        rows, checks = rows + more_rows, checks + more_checks
    if "attacks" in (chosen.parts or parts):
        everybody = {"course": peers.course(), **peers.installed()[0]}
        tried = stumbles.table({name: package.pgd for name, package in everybody.items()})
        print("\nWhere users stumble\n" + "\n".join(tried))
    print(f"\nA step, median of the rounds\n{report.table(rows)}")
    print(f"written to {report.write(rows, checks, tried)}")


if __name__ == "__main__":
    main()
