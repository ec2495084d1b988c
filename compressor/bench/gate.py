"""The latency gate: two files of the same inputs, shapes, and whether the new file is slower than the baseline."""

import random
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import onnxruntime as ort

from . import counter, host, load, pairs, sessions
from .accuracy import accuracy
from .answers import largest_difference, nonfinite, not_alike, numbers
from .decision import MIN_BLOCKS, Decision, decide, worst
from .errors import InputError, PlanError
from .gate_result import Counts, GateDocument, GateEntry, GateResult, MaybeBoth, Names
from .inputs import Inputs, axes_of, read_inputs
from .plan import Feed, Points, check_counter, check_seconds, check_shapes, read_content
from .result import FORMAT
from .shape import Shape


@dataclass(frozen=True)
class GatePlan(Points):
    """What `python -m compressor.bench --gate PLAN.json OUT.json` reads; `docs/how-to/gate.md` explains each key."""

    new: str
    baseline: str
    margin: float = 0.02
    budget_s: float = 10.0
    baseline_inputs_file: str | None = None
    """The same examples as the baseline reads them, where it reads other ids."""

    @property
    def feeds(self) -> dict[str, Feed]:
        """What another process needs to make the inputs of each file."""
        if not self.baseline_inputs_file:
            return dict.fromkeys(pairs.ROLES, self.fed)
        its_own = str((self.folder / self.baseline_inputs_file).absolute())
        return {"new": self.fed, "baseline": {**self.fed, "inputs_file": its_own}}

    @property
    def files(self) -> dict[str, Path]:
        """The two ONNX files by their roles."""
        return {"new": self.folder / self.new, "baseline": self.folder / self.baseline}


class Compared(NamedTuple):
    """What two files answer at a shape."""

    difference: float | None
    nonfinite: Names
    other: list[str]


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
    inputs = _inputs(plan)
    feeds, compared = _answers(plan, inputs)
    labels = inputs["new"].labels
    new, baseline = (None if labels is None else accuracy(plan.files[role], inputs[role]) for role in pairs.ROLES)
    peaks: MaybeBoth = {"new": _peak_memory_bytes(plan, "new"), "baseline": _peak_memory_bytes(plan, "baseline")}
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
        "accuracy": {"new": new.accuracy, "baseline": baseline.accuracy} if new and baseline else None,
        "n_nonfinite": {"new": new.n_nonfinite, "baseline": baseline.n_nonfinite} if new and baseline else None,
        "n_examples": None if labels is None else len(labels),
        "n_instructions": counts,
        "shapes": [_entry(shape, decision, compared[shape]) for shape, decision in decisions.items()],
    }


def _inputs(plan: GatePlan) -> dict[str, Inputs]:
    """Read the inputs of each file, the same examples for both."""
    new, baseline = (read_inputs(**plan.feeds[role]) for role in pairs.ROLES)
    if plan.baseline_inputs_file and not np.array_equal(_labels(new), _labels(baseline)):
        raise InputError(f"{baseline.place}: 'labels' should be those of {new.place}, example by example")
    return {"new": new, "baseline": baseline}


def _labels(inputs: Inputs) -> np.ndarray:
    return np.array([]) if inputs.labels is None else inputs.labels


def _answers(plan: GatePlan, inputs: Mapping[str, Inputs]) -> tuple[dict[Shape, pairs.Feeds], dict[Shape, Compared]]:
    """Make the inputs of each shape, run both files on them, and compare their outputs."""
    opened = {role: sessions.open_session(plan.files[role], min(plan.threads)) for role in pairs.ROLES}
    _check_inputs(plan, opened["new"], opened["baseline"])
    lengths = plan.lengths if axes_of(opened["new"]).has_free_length(plan.inputs) else [None]
    feeds: dict[Shape, pairs.Feeds] = {}
    compared = {}
    for shape in map(Shape._make, product(plan.batch_sizes, lengths, plan.threads)):
        feeds[shape] = {
            role: inputs[role].at(session, shape.batch_size, shape.length) for role, session in opened.items()
        }
        ours, theirs = (sessions.run_once(opened[role], feeds[shape][role], plan.files[role]) for role in pairs.ROLES)
        compared[shape] = Compared(
            largest_difference(numbers(ours), numbers(theirs)),
            {"new": nonfinite(ours), "baseline": nonfinite(theirs)},
            not_alike(ours, theirs),
        )
    return feeds, compared


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


def _peak_memory_bytes(plan: GatePlan, role: str) -> float | None:
    """Peak memory of a file at the largest shape, from a child process of its own."""
    return load.in_child(plan.files[role], {**plan.largest, **plan.feeds[role]})["peak_memory_bytes"]


def _counts(plan: GatePlan, shapes: Iterable[Shape], say: Callable[[str], None]) -> list[Counts] | None:
    """Count the instructions of both files at each size, on one thread, if the plan asks for it."""
    if not plan.counter:
        return None
    sizes = list(dict.fromkeys((shape.batch_size, shape.length) for shape in shapes))
    counts = {role: counter.count(file, role, sizes, say, **plan.feeds[role]) for role, file in plan.files.items()}
    return [
        {
            "batch_size": size[0],
            "length": size[1],
            "new": counts["new"][size],
            "baseline": counts["baseline"][size],
        }
        for size in sizes
    ]


def _entry(shape: Shape, decided: Decision, compared: Compared) -> GateEntry:
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
        "output_difference": compared.difference,
        "nonfinite_outputs": compared.nonfinite,
        "other_outputs": compared.other,
    }
