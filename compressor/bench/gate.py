"""The latency gate: two files of the same inputs, shapes, and whether the new file is slower than the baseline."""

import math
import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from . import host, load, pairs, sessions
from .errors import InputError, PlanError
from .plan import FORMAT, check_seconds, check_shapes, read_content
from .verdict import MIN_BLOCKS, Decision, decide, worst


@dataclass(frozen=True)
class GatePlan:
    """What `python -m compressor.bench --gate PLAN.json OUT.json` reads; `docs/gate.md` explains each key."""

    new: str
    baseline: str
    margin: float = 0.02
    budget_s: float = 10.0
    batch_sizes: list[int] = field(default_factory=lambda: [1])
    lengths: list[int] = field(default_factory=lambda: [32, 128])
    threads: list[int] = field(default_factory=lambda: [1])
    seed: int = 0
    """Fixes the inputs and the order of the runs."""
    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Facts by input name, as in a bench plan."""
    folder: Path = Path()
    """Where relative files are looked for: the folder of the plan."""

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
    margin = content.get("margin", 0)
    if not isinstance(margin, int | float) or not margin >= 0:
        raise PlanError(f"{path}: 'margin' should be at least 0, got {margin!r}")
    plan = GatePlan(**content, folder=path.parent)
    for role, error in (("baseline", PlanError), ("new", InputError)):
        if not plan.files[role].is_file():
            raise error(f"{plan.files[role]}: no such file")
    return plan


def gate(plan: GatePlan, say: Callable[[str], None]) -> dict[str, Any]:
    """Compare what both files answer and take, and return what the gate's result file holds."""
    inputs, differences = _answers(plan)
    peaks = {role: _peak_memory_bytes(plan, file) for role, file in plan.files.items()}
    say(f"measuring for {plan.budget_s:g} s at most, or until there are {MIN_BLOCKS} blocks")
    measure = partial(pairs.fresh, files=plan.files, inputs=inputs, rng=random.Random(plan.seed))
    decisions = decide(measure, list(inputs), plan.margin, plan.budget_s, time.perf_counter)
    return {
        "format": FORMAT,
        "environment": host.environment(),
        "seed": plan.seed,
        "margin": plan.margin,
        "budget_s": plan.budget_s,
        "verdict": worst(each.verdict for each in decisions.values()),
        "peak_memory_bytes": peaks,
        "shapes": [_entry(shape, each, differences[shape]) for shape, each in decisions.items()],
    }


def output_difference(new: Mapping[str, Any], baseline: Mapping[str, Any]) -> float | None:
    """Largest difference between numbers of the outputs; None if their names or shapes differ, or one is not finite."""
    ours, theirs = _numbers(new), _numbers(baseline)
    if {name: value.shape for name, value in ours.items()} != {name: value.shape for name, value in theirs.items()}:
        return None
    largest = max((float(np.abs(ours[name] - theirs[name]).max(initial=0)) for name in ours), default=math.nan)
    return largest if math.isfinite(largest) else None


def _numbers(outputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Leave out texts and maps, which some classifiers of other makers give beside their numbers."""
    arrays = {name: value for name, value in outputs.items() if isinstance(value, np.ndarray)}
    return {name: value.astype(np.float64) for name, value in arrays.items() if value.dtype.kind in "bfiu"}


def _answers(plan: GatePlan) -> tuple[dict[pairs.Shape, dict[str, Any]], dict[pairs.Shape, float | None]]:
    """Make the inputs of each shape, run both files on them, and see how far their outputs differ."""
    new, baseline = (sessions.open_session(plan.files[role], min(plan.threads)) for role in pairs.ROLES)
    _check_inputs(plan, new, baseline)
    lengths = plan.lengths if sessions.has_free_length(new) else [None]
    inputs, differences = {}, {}
    for shape in map(pairs.Shape._make, product(plan.batch_sizes, lengths, plan.threads)):
        inputs[shape] = sessions.random_inputs(new, shape.batch_size, shape.length, plan.inputs, plan.seed)
        ours, theirs = (
            sessions.run_once(session, inputs[shape], plan.files[role])
            for role, session in zip(pairs.ROLES, (new, baseline), strict=True)
        )
        differences[shape] = output_difference(ours, theirs)
    return inputs, differences


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
        each.name: f"{each.type.removeprefix('tensor(').removesuffix(')')} "
        + "x".join(str(size) if isinstance(size, int) else "?" for size in each.shape)
        for each in session.get_inputs()
    }


def _peak_memory_bytes(plan: GatePlan, file: Path) -> float | None:
    """Peak memory of a file at the largest shape, from a child process of its own."""
    largest = {"batch_size": max(plan.batch_sizes), "length": max(plan.lengths), "n_threads": min(plan.threads)}
    return load.in_child(file, {**largest, "inputs": plan.inputs})["peak_memory_bytes"]


def _entry(shape: pairs.Shape, decided: Decision, difference: float | None) -> dict[str, Any]:
    return {
        **shape._asdict(),
        "n_blocks": len(decided.blocks),
        "new_cpu_ms": 1e3 * statistics.median(block.new_s for block in decided.blocks),
        "baseline_cpu_ms": 1e3 * statistics.median(block.baseline_s for block in decided.blocks),
        **asdict(decided.interval),
        "verdict": decided.verdict,
        "output_difference": difference,
    }
