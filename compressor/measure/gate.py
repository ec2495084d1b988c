"""`compress gate`: whether a new ONNX file is slower than its baseline, and how it differs in what never varies."""

import statistics
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Literal

from compressor.bench.decision import worst
from compressor.bench.gate_result import Counts, GateDocument, GateEntry, GateResult, GateSettings
from compressor.bench.result import FORMAT
from compressor.bench.shape import Shape
from compressor.errors import RecipeError
from compressor.graphs import content, flops
from compressor.measure import comparable, launch, plan
from compressor.numerics import binomial
from compressor.progress import say
from compressor.report.gate_result import Amount, Check, Comparison, Limits, SelfTest, Spread
from compressor.report.limits import SLACK

N_SELF_TESTS = 10
MAX_INSTRUCTIONS = 0.005  # once they are counted
INFO = "info"  # the verdict of a fact that has no limit
Allowed = Literal["nonfinite", "other outputs"]


def check(
    new: Path,
    baseline: Path,
    settings: GateSettings,
    limits: Limits,
    inconclusive: Literal["pass", "fail"] = "fail",
    allowed: Collection[Allowed] = (),
) -> Comparison:
    """Compare a new file with its baseline, in this hour on this machine.

    Parameters
    ----------
    new, baseline : Path
        ONNX files with the same inputs.
    settings : mapping
        ``margin`` and ``budget_s``; ``batch_sizes``, ``lengths``, ``threads``, ``inputs_file`` and ``counter`` where
        they differ from the defaults of a gate's plan.
    limits : mapping from name to number
        How much ``bytes``, ``parameters``, ``memory``, ``flops`` and ``instructions`` may grow, and how much
        ``accuracy`` may be lost, as fractions; how many ``operations`` may be new; how far ``outputs`` may differ.
        A limit of None, or none at all, is not judged, but that of ``instructions`` is 0.005.
    inconclusive : "pass" or "fail"
        What it counts as if the budget was too short for an answer.
    allowed : collection of "nonfinite" and "other outputs"
        Faults of the outputs that are meant. By default outputs that hold NaN or an infinity are a regression, and so
        are outputs of other names, types or shapes than the baseline's.

    Returns
    -------
    dict
        What ``compress gate --json`` prints.

    Raises
    ------
    RecipeError
        If there is no baseline, its inputs are others, or it reads other ids where outputs or accuracies are judged.
    InputError
        If a file is damaged or cannot be run at a shape, if there are no labels where ``accuracy`` has a limit, or
        if the counter is not installed. Where the inputs file cannot be read it is the bench's own class, from which
        ours derives.
    """
    if not baseline.is_file():
        raise RecipeError(f"{baseline}: no such baseline; give the ONNX file to compare with")
    ours, theirs = content.describe(new), content.describe(baseline)
    comparable.require(new, baseline, settings, limits)
    plan_ = _plan(new, baseline, settings)
    result = launch.gate(plan_)
    memory, sizes = result["peak_memory_bytes"], _sizes(result["shapes"])
    checks = [
        *(_latency(entry, result["margin"]) for entry in result["shapes"]),
        *(_instructions(counts, limits.get("instructions")) for counts in result["n_instructions"] or ()),
        *(_outputs(entry, limits.get("outputs"), allowed) for entry in sizes),
        *_accuracy(result, limits.get("accuracy"), allowed),
        *(_flops(plan_, Shape.of(entry).size, limits.get("flops")) for entry in sizes),
        _growth("bytes", ours["size_bytes"], theirs["size_bytes"], limits.get("bytes")),
        _growth("parameters", ours["n_params"], theirs["n_params"], limits.get("parameters")),
        _growth("memory", memory["new"], memory["baseline"], limits.get("memory")),
        _operations(ours["ops"], theirs["ops"], limits.get("operations")),
    ]
    missed = [check["verdict"] for check in checks if check["verdict"] == "regression"]
    return {
        "format": result["format"],
        "environment": result["environment"],
        "seed": result["seed"],
        "margin": result["margin"],
        "budget_s": result["budget_s"],
        "verdict": worst([result["verdict"], *missed]),
        "inconclusive": inconclusive,
        "new": str(new),
        "baseline": str(baseline),
        "checks": checks,
    }


def self_test(file: Path, settings: GateSettings) -> SelfTest:
    """Let a file stand against itself, again and again, to see what this machine makes of no difference at all.

    Returns
    -------
    dict
        What ``compress gate --self-test --json`` prints. The verdict is ``pass`` if every run was decided and
        none was a false alarm, else ``inconclusive``: the gate is no use here with this margin and budget.
    """
    plan = _plan(file, file, settings)
    runs = []
    for index in range(N_SELF_TESTS):
        say(f"run {index + 1} of {N_SELF_TESTS}")
        runs.append(launch.gate({**plan, "seed": index}))
    verdicts = [run["verdict"] for run in runs]
    n_false = verdicts.count("regression")
    checks: list[Check] = [
        {**_latency(entry, run["margin"]), "run": run["seed"]} for run in runs for entry in run["shapes"]
    ]
    return {
        "format": runs[0]["format"],
        "environment": runs[0]["environment"],
        "margin": runs[0]["margin"],
        "budget_s": runs[0]["budget_s"],
        "verdict": "inconclusive" if n_false or "inconclusive" in verdicts else "pass",
        "new": str(file),
        "n_runs": len(runs),
        "n_false_alarms": n_false,
        "n_inconclusive": verdicts.count("inconclusive"),
        "false_alarm_rate": n_false / len(runs),
        "false_alarm_interval": binomial.interval(n_false, len(runs)),
        "shapes": list(_spreads([entry for run in runs for entry in run["shapes"]])),
        "checks": checks,
    }


def _plan(new: Path, baseline: Path, settings: GateSettings) -> GateDocument:
    feed = plan.feeding([new, baseline], settings)
    return {
        "format": FORMAT,
        "new": str(new.absolute()),
        "baseline": str(baseline.absolute()),
        **settings,
        **feed,
    }


def _latency(entry: GateEntry, margin: float) -> Check:
    return {
        "name": "latency",
        "shape": Shape.of(entry).name,
        "new": entry["new_cpu_ms"],
        "baseline": entry["baseline_cpu_ms"],
        "ratio": entry["ratio"],
        "low": entry["low"],
        "high": entry["high"],
        "difference": None,
        "margin": margin,
        "verdict": entry["verdict"],
        "n_blocks": entry["n_blocks"],
    }


def _outputs(entry: GateEntry, limit: float | None, allowed: Collection[Allowed]) -> Check:
    """Judge how outputs differ; outputs that are not finite or not comparable are a regression without any limit."""
    check = _difference("outputs", entry["output_difference"], limit, shape=Shape.of(entry).size.name)
    nonfinite, other = entry["nonfinite_outputs"], entry["other_outputs"]
    is_infinite = any(nonfinite.values()) and "nonfinite" not in allowed
    is_other = bool(other) and "other outputs" not in allowed
    verdict = "regression" if is_infinite or is_other else check["verdict"]
    return {**check, "verdict": verdict, "nonfinite": nonfinite, "other": other}


def _instructions(counts: Counts, limit: float | None) -> Check:
    limit = MAX_INSTRUCTIONS if limit is None else limit
    size = Shape(counts["batch_size"], counts["length"])
    return _growth("instructions", counts["new"], counts["baseline"], limit, size)


def _flops(plan_: GateDocument, size: Shape, limit: float | None) -> Check:
    files = (Path(plan_["new"]), Path(plan_["baseline"]))
    ours, theirs = (flops.count(file, size.batch_size, size.length, plan_["inputs"]) for file in files)
    return _growth("flops", ours, theirs, limit, size)


def _accuracy(result: GateResult, limit: float | None, allowed: Collection[Allowed]) -> Iterator[Check]:
    """Compare the accuracies, if the inputs had labels; their difference is what was lost.

    Scores that are not finite are a regression; where one is NaN there is no accuracy, so that no limit is met.
    """
    accuracies, n_nonfinite = result["accuracy"], result["n_nonfinite"]
    if accuracies and n_nonfinite:
        new, baseline = accuracies["new"], accuracies["baseline"]
        lost = None if new is None or baseline is None else baseline - new
        check = _difference("accuracy", lost, limit, new, baseline)
        is_infinite = any(n_nonfinite.values()) and "nonfinite" not in allowed
        verdict = "regression" if is_infinite else check["verdict"]
        yield {**check, "verdict": verdict, "n_examples": result["n_examples"], "n_nonfinite": n_nonfinite}


def _growth(
    name: str, new: float | None, baseline: float | None, limit: float | None, size: Shape | None = None
) -> Check:
    """Compare two numbers that are taken as they are; the bounds of their ratio are the ratio."""
    ratio = 0.0 if new is not None and new == baseline else new / baseline - 1 if new is not None and baseline else None
    return {
        "name": name,
        "shape": size.name if size else None,
        "new": new,
        "baseline": baseline,
        "ratio": ratio,
        "low": ratio,
        "high": ratio,
        "difference": None,
        "margin": limit,
        "verdict": _judged(ratio, limit),
    }


def _operations(new: dict[str, int], baseline: dict[str, int], limit: float | None) -> Check:
    """Count the operations that the baseline lacks: a kernel that fell back shows even if their sum is the same."""
    n_new = sum(max(0, count - baseline.get(name, 0)) for name, count in new.items())
    return _difference("operations", n_new, limit, new, baseline)


def _difference(
    name: str,
    difference: float | None,
    limit: float | None,
    new: Amount = None,
    baseline: Amount = None,
    shape: str | None = None,
) -> Check:
    """Judge a difference; it has no ratio."""
    return {
        "name": name,
        "shape": shape,
        "new": new,
        "baseline": baseline,
        "ratio": None,
        "low": None,
        "high": None,
        "difference": difference,
        "margin": limit,
        "verdict": _judged(difference, limit),
    }


def _judged(value: float | None, limit: float | None) -> str:
    """Judge what never varies; a value that cannot be known does not meet its limit."""
    if limit is None:
        return INFO
    return "pass" if value is not None and value <= limit + SLACK else "regression"


def _spreads(entries: Iterable[GateEntry]) -> Iterator[Spread]:
    """Sum up the runs of a self-test by shape, each number as its median over the runs."""
    by_shape: dict[Shape, list[GateEntry]] = {}
    for entry in entries:
        by_shape.setdefault(Shape.of(entry), []).append(entry)
    for shape, runs in by_shape.items():
        yield {
            "shape": shape.name,
            "ratio": statistics.median(run["ratio"] for run in runs),
            "low": statistics.median(run["low"] for run in runs),
            "high": statistics.median(run["high"] for run in runs),
            "half_width": statistics.median((run["high"] - run["low"]) / 2 for run in runs),
            "n_without_zero": sum(not run["low"] <= 0 <= run["high"] for run in runs),
        }


def _sizes(entries: Iterable[GateEntry]) -> list[GateEntry]:
    """Leave out shapes that differ in their threads alone."""
    return list({Shape.of(entry).size: entry for entry in entries}.values())
