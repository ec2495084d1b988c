"""The latency gate: two files of the same inputs, shapes, and whether the new file is slower than the baseline."""

import random
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from functools import partial
from itertools import product
from pathlib import Path
from typing import cast

import numpy as np
import onnxruntime as ort

from . import counter, host, load, pairs, sessions
from .accuracy import accuracy
from .answers import largest_difference, numbers
from .decision import MIN_BLOCKS, Decision, decide, worst
from .errors import InputError, PlanError
from .gate_result import Both, Counts, GateDocument, GateEntry, GateResult, MaybeBoth
from .inputs import Inputs, read_inputs
from .plan import Points, check_counter, check_seconds, check_shapes, read_content
from .result import FORMAT
from .shape import Shape


@dataclass(frozen=True)
class GatePlan(Points):
    """What `python -m compressor.bench --gate PLAN.json OUT.json` reads; `docs/how-to/gate.md` explains each key."""

    new: str
    baseline: str
    margin: float = 0.02
    budget_s: float = 10.0

    @property
    def files(self) -> dict[str, Path]:
        """The two ONNX files by their roles."""
        return {"new": self.folder / self.new, "baseline": self.folder / self.baseline}


def read_gate_plan(path: Path) -> GatePlan:
    """Read and check a plan; a missing baseline is a wrong plan, a missing new file a wrong input."""
    content = read_content(path, {known.name for known in fields(GatePlan)} - {"folder"})
    for role in pairs.ROLES:
        if not isinstance(content.get(role), str):
            raise PlanError(f"{path}: {role!r} should be the name of an ONNX file")
    check_shapes(content, path)
    check_seconds(content, "budget_s", path)
    check_counter(content, path)
    margin = content.get("margin", 0)
    if not isinstance(margin, int | float) or not margin >= 0:
        raise PlanError(f"{path}: 'margin' should be at least 0, got {margin!r}")
    plan = GatePlan(**cast(GateDocument, content), folder=path.parent)
    for role, error in (("baseline", PlanError), ("new", InputError)):
        if not plan.files[role].is_file():
            raise error(f"{plan.files[role]}: no such file")
    return plan


def gate(plan: GatePlan, say: Callable[[str], None]) -> GateResult:
    """Compare what both files answer and take, and return what the gate's result file holds."""
    if (environment := host.environment())["is_emulated"]:
        raise InputError(
            "this processor is emulated: its times say nothing about a real one, so nothing can be decided"
        )
    if plan.counter:
        counter.find_valgrind()
    inputs = read_inputs(**plan.fed)
    feeds, differences = _answers(plan, inputs)
    new, baseline = (plan.files[role] for role in pairs.ROLES)
    accuracies: Both | None = None
    if inputs.labels is not None:
        accuracies = {"new": accuracy(new, inputs), "baseline": accuracy(baseline, inputs)}
    peaks: MaybeBoth = {"new": _peak_memory_bytes(plan, new), "baseline": _peak_memory_bytes(plan, baseline)}
    counts = _counts(plan, feeds, say)
    say(f"measuring for {plan.budget_s:g} s at most, or until there are {MIN_BLOCKS} blocks")
    measure = partial(pairs.fresh, files=plan.files, inputs=feeds, rng=random.Random(plan.seed))
    decisions = decide(measure, list(feeds), plan.margin, plan.budget_s, time.perf_counter)
    return {
        "format": FORMAT,
        "environment": environment,
        "seed": plan.seed,
        "margin": plan.margin,
        "budget_s": plan.budget_s,
        "verdict": worst(decision.verdict for decision in decisions.values()),
        "peak_memory_bytes": peaks,
        "accuracy": accuracies,
        "n_examples": None if inputs.labels is None else len(inputs.labels),
        "n_instructions": counts,
        "shapes": [_entry(shape, decision, differences[shape]) for shape, decision in decisions.items()],
    }


def _answers(plan: GatePlan, inputs: Inputs) -> tuple[dict[Shape, dict[str, np.ndarray]], dict[Shape, float | None]]:
    """Make the inputs of each shape, run both files on them, and see how far their outputs differ."""
    new, baseline = (sessions.open_session(plan.files[role], min(plan.threads)) for role in pairs.ROLES)
    _check_inputs(plan, new, baseline)
    lengths = plan.lengths if sessions.has_free_length(new) else [None]
    feeds, differences = {}, {}
    for shape in map(Shape._make, product(plan.batch_sizes, lengths, plan.threads)):
        feeds[shape] = inputs.at(new, shape.batch_size, shape.length)
        ours, theirs = (
            sessions.run_once(session, feeds[shape], plan.files[role])
            for role, session in zip(pairs.ROLES, (new, baseline), strict=True)
        )
        differences[shape] = largest_difference(numbers(ours), numbers(theirs))
    return feeds, differences


def _check_inputs(plan: GatePlan, new: ort.InferenceSession, baseline: ort.InferenceSession) -> None:
    """Refuse a baseline that takes other inputs: its times would be those of another task."""
    ours, theirs = _declared(new), _declared(baseline)
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            raise PlanError(
                f"{plan.files['baseline']}: the baseline has other inputs, {name!r} is {theirs.get(name, 'missing')} "
                f"there and {ours.get(name, 'missing')} in the new file"
            )


def _declared(session: ort.InferenceSession) -> dict[str, str]:
    """Write type and shape of each input, free axes without their names."""
    return {
        declared.name: f"{declared.type.removeprefix('tensor(').removesuffix(')')} "
        + "x".join(str(size) if isinstance(size, int) else "?" for size in declared.shape)
        for declared in session.get_inputs()
    }


def _peak_memory_bytes(plan: GatePlan, file: Path) -> float | None:
    """Peak memory of a file at the largest shape, from a child process of its own."""
    return load.in_child(file, {**plan.largest, **plan.fed})["peak_memory_bytes"]


def _counts(plan: GatePlan, shapes: Iterable[Shape], say: Callable[[str], None]) -> list[Counts] | None:
    """Count the instructions of both files at each size, on one thread, if the plan asks for it."""
    if not plan.counter:
        return None
    sizes = list(dict.fromkeys((shape.batch_size, shape.length) for shape in shapes))
    counts = {role: counter.count(file, role, sizes, say, **plan.fed) for role, file in plan.files.items()}
    return [
        {
            "batch_size": size[0],
            "length": size[1],
            "new": counts["new"][size],
            "baseline": counts["baseline"][size],
        }
        for size in sizes
    ]


def _entry(shape: Shape, decided: Decision, difference: float | None) -> GateEntry:
    return {
        "batch_size": shape.batch_size,
        "length": shape.length,
        "threads": shape.threads,
        "n_blocks": len(decided.blocks),
        "new_cpu_ms": 1e3 * statistics.median(block.new_s for block in decided.blocks),
        "baseline_cpu_ms": 1e3 * statistics.median(block.baseline_s for block in decided.blocks),
        "ratio": decided.interval.ratio,
        "low": decided.interval.low,
        "high": decided.interval.high,
        "verdict": decided.verdict,
        "output_difference": difference,
    }
