"""What a plan asks for, file by file and shape by shape: load, latency, energy, instructions."""

import random
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import onnxruntime as ort

from . import answers, counter, energy, estimate, host, load, metering, sessions
from .errors import InputError, PlanError
from .inputs import read_inputs
from .latency import Tally, interleave, no_garbage_collection, summary
from .plan import FORMAT, Plan, scenario, size_name

Shape = dict[str, Any]  # batch_size, length (None where no length is free), threads
Cell = tuple[Shape, dict[str, Tally], dict[str, Any]]  # what was timed, and the joules, by file


def measure(plan: Plan, say: Callable[[str], None], root: Path = Path("/")) -> dict[str, Any]:
    """Measure all files of a plan and return what `bench.json` holds; on an emulated processor nothing is timed."""
    _require(plan.min_onnxruntime, plan.opset)
    environment = host.environment(root)
    differences = answers.differences(plan)
    facts = [
        {
            **each,
            "size_bytes": load.size_bytes(plan.path(each), each.get("weights")),
            "output_difference": differences[each["name"]],
        }
        for each in plan.variants
    ]
    if environment["is_emulated"]:
        say("an emulated processor: the files are run and compared, nothing is timed, metered, counted or limited")
        variants = [{**variant, "load_ms": None, "peak_memory_bytes": None, "bench": []} for variant in facts]
    else:
        variants = _timed(plan, facts, say, root)
    return {"format": FORMAT, "environment": environment, "seed": plan.seed, "variants": variants}


def _timed(plan: Plan, facts: list[dict[str, Any]], say: Callable[[str], None], root: Path) -> list[dict[str, Any]]:
    """Add to what is known of each file its load, and its times, joules and instructions at every shape."""
    if plan.counter:
        counter.find_valgrind()
    profile = estimate.read_profile(plan.folder / plan.energy_model) if plan.energy_model else None
    name, reason = energy.choose(plan.meter, root)  # one that was asked for and is not there ends the run here
    otherwise = f"estimated from {plan.energy_model}" if profile else "unavailable"
    say(f"energy: {name}" if name else f"energy: {otherwise}, {reason}")
    variants = [{**variant, **_weigh(plan, variant), "bench": []} for variant in facts]
    for shape, tallies, joules in _cells(plan, root):
        for variant in variants:
            times = summary(tallies[variant["name"]], shape["batch_size"])
            entry = {**shape, "scenario": scenario(shape["batch_size"]), "n_flops": _n_flops(variant, shape), **times}
            found = joules[variant["name"]]
            if profile and found["kind"] == "unavailable":
                found = _estimated(profile, entry, variant["size_bytes"])
            variant["bench"].append({**entry, "n_instructions": None, "energy": found})
            say(_line(variant["name"], entry))
    if plan.counter:
        _count(plan, variants, say)
    return variants


def _count(plan: Plan, variants: list[dict[str, Any]], say: Callable[[str], None]) -> None:
    """Fill in the instructions of an inference on one thread, also where more of them were timed."""
    for variant in variants:
        sizes = list(dict.fromkeys((entry["batch_size"], entry["length"]) for entry in variant["bench"]))
        counts = counter.count(plan.path(variant), variant["name"], sizes, say, **plan.fed)
        for entry in variant["bench"]:
            entry["n_instructions"] = counts[entry["batch_size"], entry["length"]]


def _require(min_onnxruntime: str | None, opset: int | None) -> None:
    """Refuse an onnxruntime that is too old for the files."""
    if min_onnxruntime and _version(ort.__version__) < _version(min_onnxruntime):
        what = f"onnxruntime {ort.__version__} is too old for opset {opset}"
        raise InputError(f"{what}; {sys.executable} -m pip install 'onnxruntime>={min_onnxruntime}'")


def _version(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)[:3]]


def _estimated(profile: estimate.Profile, entry: dict[str, Any], size_bytes: int) -> dict[str, Any]:
    """Estimate the joules of an inference from the times just taken."""
    cpu = host.cpu()["model"]
    return estimate.estimated(profile, entry["cpu_ms"] * 1e-3, entry["mean_ms"] * 1e-3, size_bytes, cpu)


def _cells(plan: Plan, root: Path) -> Iterator[Cell]:
    """Measure each shape at each thread count; those of one count are closed before the next are opened."""
    rng = random.Random(plan.seed)
    for n_threads in plan.threads:
        yield from _at_threads(n_threads, plan, rng, root)


def _at_threads(n_threads: int, plan: Plan, rng: random.Random, root: Path) -> Iterator[Cell]:
    """Measure each shape, the sessions of all files alive."""
    made = read_inputs(**plan.fed)
    opened = {v["name"]: (plan.path(v), sessions.open_session(plan.path(v), n_threads)) for v in plan.variants}
    lengths = _lengths(plan, [session for _, session in opened.values()])
    for batch_size, length in product(plan.batch_sizes, lengths):
        runs = {}
        for name, (file, session) in opened.items():
            inputs = made.at(session, batch_size, length)
            sessions.run_once(session, inputs, file)
            runs[name] = partial(session.run, None, inputs)
        with no_garbage_collection():
            tallies = interleave(runs, plan.seconds, rng)
        joules = metering.energies(runs, plan.meter, rng, root)
        yield {"batch_size": batch_size, "length": length, "threads": n_threads}, tallies, joules


def _lengths(plan: Plan, opened: list[ort.InferenceSession]) -> list[int | None]:
    """Lengths to measure: none for images and for files of one fixed length."""
    free = {sessions.has_free_length(session) for session in opened}
    if len(free) > 1:
        raise PlanError("variants: some have a free length and some have not; measure them apart")
    return list(plan.lengths) if free == {True} else [None]


def _weigh(plan: Plan, variant: dict[str, Any]) -> dict[str, Any]:
    """Let a process of its own open the file, at the largest shape."""
    job = {**plan.largest, **plan.fed, "memory_limit_bytes": plan.memory_limit_bytes}
    return load.in_child(plan.path(variant), job)


def _n_flops(variant: Mapping[str, Any], shape: Shape) -> int | None:
    """Look up the count that the plan gives for a shape."""
    counts: Mapping[str, int] = variant.get("n_flops") or {}
    return counts.get(size_name(shape["batch_size"], shape["length"]))


def _line(name: str, entry: Mapping[str, Any]) -> str:
    size = size_name(entry["batch_size"], entry["length"])
    return (
        f"{name:<16}  {size:>6}  threads {entry['threads']}  p50 {entry['p50_ms']:8.3f} ms"
        f"  p90 {entry['p90_ms']:8.3f}  p99 {entry['p99_ms']:8.3f}  runs {entry['n_runs']}"
    )
