"""Latency of several files side by side: warm-up, short blocks in random order, percentiles."""

import gc
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from . import energy, estimate, host, load, practice, sessions
from .errors import PlanError
from .plan import FORMAT, Plan

Clock = Callable[[], float]
Shape = dict[str, Any]  # batch_size, length (None where no length is free), threads
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


def measure(plan: Plan, say: Callable[[str], None], root: Path = Path("/")) -> dict[str, Any]:
    """Measure all files of a plan and return what `bench.json` holds."""
    profile = estimate.read_profile(plan.folder / plan.energy_model) if plan.energy_model else None
    name, reason = energy.choose(plan.meter, root)  # one that was asked for and is not there ends the run here
    say(f"energy: {name}" if name else f"energy: unavailable, {reason}")
    variants = [{**variant, **_weigh(plan, variant), "bench": []} for variant in plan.variants]
    for shape, tallies, joules in _cells(plan, root):
        for variant in variants:
            times = summary(tallies[variant["name"]], shape["batch_size"])
            entry = {**shape, "n_flops": _n_flops(variant, shape), **times}
            found = joules[variant["name"]]
            if profile and found["kind"] == "unavailable":
                found = _estimated(profile, entry, variant["size_bytes"])
            variant["bench"].append({**entry, "energy": found})
            say(_line(variant["name"], entry))
    return {"format": FORMAT, "environment": host.environment(root), "seed": plan.seed, "variants": variants}


def _estimated(profile: estimate.Profile, entry: dict[str, Any], size_bytes: int) -> dict[str, Any]:
    """Estimate the joules of an inference from the times just taken."""
    cpu = host.cpu()["model"]
    return estimate.estimated(profile, entry["cpu_ms"] * 1e-3, entry["mean_ms"] * 1e-3, size_bytes, cpu)


def interleave(
    runs: Mapping[str, Callable[[], object]],
    seconds: float,
    rng: random.Random,
    clock: Clock = time.perf_counter,
) -> dict[str, Tally]:
    """Time callables against each other in short blocks of back-to-back runs.

    Each cycle gives every callable one block, in an order drawn anew, so that a slow spell of the
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


def summary(tally: Tally, batch_size: int) -> dict[str, float]:
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
    }


def _cells(plan: Plan, root: Path) -> Iterator[tuple[Shape, dict[str, Tally], dict[str, Any]]]:
    """Measure each shape at each thread count, the sessions of all files alive."""
    rng = random.Random(plan.seed)
    for n_threads in plan.threads:
        opened = {v["name"]: (plan.path(v), sessions.open_session(plan.path(v), n_threads)) for v in plan.variants}
        lengths = _lengths(plan, [session for _, session in opened.values()])
        for batch_size, length in product(plan.batch_sizes, lengths):
            runs = {}
            for name, (file, session) in opened.items():
                inputs = sessions.random_inputs(session, batch_size, length, plan.inputs, plan.seed)
                sessions.run_once(session, inputs, file)
                runs[name] = partial(session.run, None, inputs)
            with no_garbage_collection():
                tallies = interleave(runs, plan.seconds, rng)
            joules = practice.energies(runs, plan.meter, rng, root)
            yield {"batch_size": batch_size, "length": length, "threads": n_threads}, tallies, joules


def _lengths(plan: Plan, opened: list[ort.InferenceSession]) -> list[int | None]:
    """Lengths to measure: none for images and for files of one fixed length."""
    free = {sessions.has_free_length(session) for session in opened}
    if len(free) > 1:
        raise PlanError("variants: some have a free length and some have not; measure them apart")
    return list(plan.lengths) if free == {True} else [None]


def _weigh(plan: Plan, variant: dict[str, Any]) -> dict[str, Any]:
    """Size of a file, and what one child process finds at the largest shape."""
    file = plan.path(variant)
    shape = {"batch_size": max(plan.batch_sizes), "length": max(plan.lengths), "n_threads": min(plan.threads)}
    return {"size_bytes": load.size_bytes(file), **load.in_child(file, {**shape, "inputs": plan.inputs})}


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
    tally.cpu_s += time.process_time() - before_s
    tally.run_s += [end - start for start, end in pairwise(marks)]


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Keep Python's collector out of the timings."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _n_flops(variant: Mapping[str, Any], shape: Shape) -> int | None:
    """Look up the count that the plan gives for a shape."""
    counts: Mapping[str, int] = variant.get("n_flops") or {}
    return counts.get(_shape_name(shape))


def _shape_name(shape: Mapping[str, Any]) -> str:
    """Write a shape as a run's facts do: batch x length, the batch alone where no length is free."""
    return f"{shape['batch_size']}x{shape['length']}" if shape["length"] else str(shape["batch_size"])


def _line(name: str, entry: Mapping[str, Any]) -> str:
    return (
        f"{name:<16}  {_shape_name(entry):>6}  threads {entry['threads']}  p50 {entry['p50_ms']:8.3f} ms"
        f"  p90 {entry['p90_ms']:8.3f}  p99 {entry['p99_ms']:8.3f}  runs {entry['n_runs']}"
    )
