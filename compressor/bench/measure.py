"""What a plan asks for, file by file and shape by shape: load, latency, energy, instructions."""

import random
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import product
from pathlib import Path

import onnxruntime as ort

from . import answers, counter, energy, estimate, host, load, metering, sessions, sharing
from .errors import InputError, PlanError
from .inputs import axes_of, read_inputs
from .latency import Tally, interleave, no_garbage_collection, summary
from .plan import Plan, scenario
from .result import FORMAT, Energy, Entry, Load, PlannedVariant, Result, Times, Variant
from .shape import Shape

Cell = tuple[Shape, dict[str, Tally], dict[str, Energy]]  # what was timed, and the joules, by file
UNTIMED: Load = {"load_ms": None, "load_range_ms": None, "peak_memory_bytes": None}


def measure(plan: Plan, say: Callable[[str], None], root: Path = Path("/")) -> Result:
    """Measure all files of a plan and return what `bench.json` holds; on an emulated processor nothing is timed."""
    _require(plan.min_onnxruntime, plan.opset)
    environment = host.environment(root)
    differences = answers.differences(plan)
    if environment["is_emulated"]:
        say("an emulated processor: the files are run and compared, nothing is timed, metered, counted or limited")
        variants = [_variant(plan, planned, differences, UNTIMED) for planned in plan.variants]
    else:
        variants = _timed(plan, differences, say, root)
    return {"format": FORMAT, "environment": environment, "seed": plan.seed, "variants": variants}


def _variant(plan: Plan, planned: PlannedVariant, differences: Mapping[str, float | None], load_: Load) -> Variant:
    """Begin the entry of a file with everything that does not depend on a shape."""
    return {
        **planned,
        "size_bytes": load.size_bytes(plan.path(planned), planned.get("weights")),
        "output_difference": differences[planned["name"]],
        **load_,
        "bench": [],
    }


def _timed(
    plan: Plan, differences: Mapping[str, float | None], say: Callable[[str], None], root: Path
) -> list[Variant]:
    """Measure each file by itself, then all of them side by side at every shape."""
    if plan.counter:
        counter.find_valgrind()
    profile = estimate.read_profile(plan.folder / plan.energy_model) if plan.energy_model else None
    name, reason = energy.choose(plan.meter, root)  # one that was asked for and is not there ends the run here
    otherwise = f"estimated from {plan.energy_model}" if profile else "unavailable"
    say(f"energy: {name}" if name else f"energy: {otherwise}, {reason}")
    weighed = _weighed(plan)
    variants = [_variant(plan, planned, differences, weighed[planned["name"]]) for planned in plan.variants]
    for shape, tallies, joules in _cells(plan, say, root):
        for variant in variants:
            times = summary(tallies[variant["name"]], shape.batch_size)
            entry = _entry(variant, shape, times, joules[variant["name"]])
            if profile and entry["energy"]["kind"] == "unavailable":
                entry["energy"] = _estimated(profile, times, variant["size_bytes"])
            variant["bench"].append(entry)
            say(_line(variant["name"], shape, times))
    if plan.counter:
        _count(plan, variants, say)
    return variants


def _entry(variant: Variant, shape: Shape, times: Times, joules: Energy) -> Entry:
    """Put together what was measured of a file at a shape."""
    return {
        "batch_size": shape.batch_size,
        "length": shape.length,
        "threads": shape.threads,
        "scenario": scenario(shape.batch_size),
        "n_flops": (variant.get("n_flops") or {}).get(shape.size.name),
        **times,
        "is_shared": sharing.is_shared(times, shape.threads),
        "n_instructions": None,
        "energy": joules,
    }


def _count(plan: Plan, variants: list[Variant], say: Callable[[str], None]) -> None:
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


def _estimated(profile: estimate.Profile, times: Times, size_bytes: int) -> Energy:
    """Estimate the joules of an inference from the times just taken."""
    cpu = host.cpu()["model"]
    return estimate.estimated(profile, times["cpu_ms"] * 1e-3, times["mean_ms"] * 1e-3, size_bytes, cpu)


def _cells(plan: Plan, say: Callable[[str], None], root: Path) -> Iterator[Cell]:
    """Measure each shape at each thread count; those of one count are closed before the next are opened."""
    rng = random.Random(plan.seed)
    for n_threads in plan.threads:
        yield from _at_threads(n_threads, plan, rng, say, root)


def _at_threads(
    n_threads: int, plan: Plan, rng: random.Random, say: Callable[[str], None], root: Path
) -> Iterator[Cell]:
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
            tallies = _tallies(runs, n_threads, plan.seconds, rng, say)
        joules = metering.energies(runs, plan.meter, rng, root)
        yield Shape(batch_size, length, n_threads), tallies, joules


def _tallies(
    runs: Mapping[str, Callable[[], object]],
    n_threads: int,
    seconds: float,
    rng: random.Random,
    say: Callable[[str], None],
) -> dict[str, Tally]:
    """Time files side by side; on one thread again if other programs share its core."""
    measure = partial(interleave, runs, seconds, rng)
    if n_threads > 1:
        return measure()
    return sharing.undisturbed(measure, lambda tallies: {k: summary(each, 1) for k, each in tallies.items()}, say)


def _lengths(plan: Plan, opened: list[ort.InferenceSession]) -> list[int | None]:
    """Lengths to measure: none for images and for files of one fixed length."""
    free = {axes_of(session).has_free_length(plan.inputs) for session in opened}
    if len(free) > 1:
        raise PlanError("variants: some have a free length and some have not; measure them apart")
    return list(plan.lengths) if free == {True} else [None]


def _weighed(plan: Plan) -> dict[str, Load]:
    """Let a process of its own open each file, at the largest shape; then time how all of them are opened in turn."""
    job = {**plan.largest, **plan.fed, "memory_limit_bytes": plan.memory_limit_bytes}
    files = {variant["name"]: plan.path(variant) for variant in plan.variants}
    peaks = {name: load.in_child(file, job) for name, file in files.items()}
    opened = load.times(files, min(plan.threads), random.Random(plan.seed))
    return {name: {**opened[name], **peaks[name]} for name in files}


def _line(name: str, shape: Shape, times: Times) -> str:
    return (
        f"{name:<16}  {shape.size.name:>6}  threads {shape.threads}  p50 {times['p50_ms']:8.3f} ms"
        f"  p90 {times['p90_ms']:8.3f}  p99 {times['p99_ms']:8.3f}  runs {times['n_runs']}"
    )
