"""Latency of several files side by side: warm-up, short blocks in random order, percentiles."""

import gc
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from .result import Times

Clock = Callable[[], float]
MIN_RUNS = 3  # per block and in the warm-up
N_CYCLES = 20  # blocks of each file that should fit into the time given
MIN_CYCLES = 5
WARM_UP_SHARE = 0.05  # of the time given, for each file


@dataclass
class Tally:
    """Everything timed on one file at one shape."""

    run_s: list[float] = field(default_factory=list)
    cpu_s: float = 0.0
    """Processor time of all of them, all threads together."""
    blocks_s: list[tuple[float, float]] = field(default_factory=list)
    """Of each block the median run, and the processor time of a run."""


def interleave(
    runs: Mapping[str, Callable[[], object]],
    seconds: float,
    rng: random.Random,
    clock: Clock = time.perf_counter,
) -> dict[str, Tally]:
    """Time callables against each other in short blocks of back-to-back runs.

    Each cycle gives every callable one block, in an order drawn again, so that a slow spell of the
    host meets all of them alike; within a block nothing else runs, as in real use.

    Parameters
    ----------
    runs : mapping from name to callable
        What to time.
    seconds : float
        Time for all of them together; every callable gets `MIN_CYCLES` blocks even beyond it.
    rng : random.Random
        Draws the order.
    clock : callable
        Seconds, monotonic.

    Returns
    -------
    dict from name to Tally
        Every run of every block. One untimed run opens each block: it pays for what the other
        callable left in the caches.
    """
    block_s = seconds / (N_CYCLES * len(runs))
    n_runs = {
        name: max(MIN_RUNS, round(block_s / _warm_up(run, WARM_UP_SHARE * seconds, clock)))
        for name, run in runs.items()
    }
    tallies = {name: Tally() for name in runs}
    end, n_cycles = clock() + seconds, 0
    while n_cycles < MIN_CYCLES or clock() < end:
        for name in rng.sample(list(runs), len(runs)):
            _block(runs[name], n_runs[name], tallies[name], clock)
        n_cycles += 1
    return tallies


def summary(tally: Tally, batch_size: int) -> Times:
    """Percentiles and mean in ms of one inference, and examples per second back to back."""
    run_ms = np.array(tally.run_s) * 1e3
    p50, p90, p99 = np.percentile(run_ms, [50, 90, 99])
    return {
        "p50_ms": float(p50),
        "p90_ms": float(p90),
        "p99_ms": float(p99),
        "mean_ms": float(run_ms.mean()),
        "cpu_ms": tally.cpu_s * 1e3 / len(run_ms),
        "throughput_per_s": batch_size * len(run_ms) / (float(run_ms.sum()) * 1e-3),
        "n_runs": len(run_ms),
        "block_p50_ms": [p50_s * 1e3 for p50_s, _ in tally.blocks_s],
        "block_cpu_ms": [cpu_s * 1e3 for _, cpu_s in tally.blocks_s],
    }


def _warm_up(run: Callable[[], object], seconds: float, clock: Clock) -> float:
    """Run until the time is over and return the median of one run."""
    tally, end = Tally(), clock() + seconds
    while len(tally.run_s) < MIN_RUNS or clock() < end:
        _block(run, MIN_RUNS, tally, clock)
    return max(statistics.median(tally.run_s), 1e-9)


def _block(run: Callable[[], object], n_runs: int, tally: Tally, clock: Clock) -> None:
    """Time runs back to back, after one that is not timed."""
    run()
    before_s = time.process_time()
    marks = [clock()]
    for _ in range(n_runs):
        run()
        marks.append(clock())
    cpu_s = time.process_time() - before_s
    run_s = [end - start for start, end in pairwise(marks)]
    tally.cpu_s += cpu_s
    tally.run_s += run_s
    tally.blocks_s.append((statistics.median(run_s), cpu_s / n_runs))


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Keep Python's collector out of the timings."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
