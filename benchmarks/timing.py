"""Functions timed in turns, so that whatever else the machine does slows all of them alike."""
from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

Seconds = dict[str, list[float]]  # of each function, one number a round


def in_turns(functions: dict[str, Callable[[], object]], rounds: int, finish: Callable[[], object] | None = None) -> Seconds:
    """Call every function once a round and time it; the order turns round after each. One round before is untimed.

    ``finish`` waits until a device has done what it was asked to (`torch.cuda.synchronize`): before the clock starts and before it stops.
    """
    finish = finish or (lambda: None)
    for function in functions.values():
        function()
    seconds: Seconds = {name: [] for name in functions}
    for turn in range(rounds):
        for name in list(functions)[:: 1 if turn % 2 else -1]:
            finish()
            start = time.perf_counter()
            functions[name]()
            finish()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def ratios(seconds: Seconds, slow: str, fast: str) -> tuple[float, float, float]:
    """How many times as long ``slow`` took: lower quartile, median and upper quartile over the rounds."""
    each = [a / b for a, b in zip(seconds[slow], seconds[fast])]
    low, middle, high = statistics.quantiles(each, n=4, method="inclusive") if len(each) > 1 else each * 3
    return low, middle, high


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Within, torch computes on ``count`` threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
