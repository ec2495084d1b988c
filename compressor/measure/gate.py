"""`compress gate`: whether a new ONNX file is slower than its baseline, and how it differs in what never varies."""

import statistics
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from compressor.bench.decision import worst
from compressor.bench.inputs import LABELS, read_arrays
from compressor.bench.plan import size_name
from compressor.errors import InputError, RecipeError
from compressor.graphs import content, flops
from compressor.measure import launch, plan
from compressor.progress import say
from compressor.report.limits import SLACK

N_SELF_TESTS = 10
MAX_INSTRUCTIONS = 0.005  # once they are counted
INFO = "info"  # the verdict of a fact that has no limit
KEYS = ("shape", "new", "baseline", "ratio", "low", "high", "difference", "margin", "verdict")

Facts = dict[str, Any]


def check(
    new: Path,
    baseline: Path,
    settings: Mapping[str, Any],
    limits: Mapping[str, float | None],
    inconclusive: Literal["pass", "fail"] = "fail",
) -> Facts:
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

    Returns
    -------
    dict
        What ``compress gate --json`` prints.

    Raises
    ------
    RecipeError
        If there is no baseline, or its inputs are others.
    InputError
        If a file is damaged or cannot be run at a shape, if there are no labels where ``accuracy`` has a limit, or
        if the counter is not installed.
    """
    if not baseline.is_file():
        raise RecipeError(f"{baseline}: no such baseline; give the ONNX file to compare with")
    ours, theirs = content.describe(new), content.describe(baseline)
    if limits.get("accuracy") is not None:
        _require_labels(settings.get("inputs_file"))
    found = launch.gate(_plan(new, baseline, settings))
    memory, sizes = found["peak_memory_bytes"], _sizes(found["shapes"])
    checks = [
        *(_latency(entry, found["margin"]) for entry in found["shapes"]),
        *(_instructions(entry, limits.get("instructions")) for entry in found["n_instructions"] or ()),
        *(_outputs(entry, limits.get("outputs")) for entry in sizes),
        *_accuracy(found["accuracy"], found["n_examples"], limits.get("accuracy")),
        *(_flops(new, baseline, size, limits.get("flops")) for size in sizes),
        _growth("bytes", ours["size_bytes"], theirs["size_bytes"], limits.get("bytes")),
        _growth("parameters", ours["n_params"], theirs["n_params"], limits.get("parameters")),
        _growth("memory", memory["new"], memory["baseline"], limits.get("memory")),
        _operations(ours["ops"], theirs["ops"], limits.get("operations")),
    ]
    missed = [each["verdict"] for each in checks if each["verdict"] == "regression"]
    head = {key: found[key] for key in ("format", "environment", "seed", "margin", "budget_s")}
    return {
        **head,
        "verdict": worst([found["verdict"], *missed]),
        "inconclusive": inconclusive,
        "new": str(new),
        "baseline": str(baseline),
        "checks": checks,
    }


def self_test(file: Path, settings: Mapping[str, Any]) -> Facts:
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
        runs.append(launch.gate(plan | {"seed": index}))
    verdicts = [run["verdict"] for run in runs]
    n_false = verdicts.count("regression")
    checks = [{**_latency(entry, run["margin"]), "run": run["seed"]} for run in runs for entry in run["shapes"]]
    return {
        **{key: runs[0][key] for key in ("format", "environment", "margin", "budget_s")},
        "verdict": "inconclusive" if n_false or "inconclusive" in verdicts else "pass",
        "new": str(file),
        "n_runs": len(runs),
        "n_false_alarms": n_false,
        "n_inconclusive": verdicts.count("inconclusive"),
        "false_alarm_rate": n_false / len(runs),
        "shapes": list(_spreads(checks)),
        "checks": checks,
    }


def _plan(new: Path, baseline: Path, settings: Mapping[str, Any]) -> Facts:
    files = {"new": str(new.resolve()), "baseline": str(baseline.resolve())}
    return {"format": 1, **files, **settings, **plan.feeding([new, baseline], settings)}


def _require_labels(file: str | None) -> None:
    """Find out before minutes of measuring that accuracies cannot be compared."""
    if file is None:
        raise RecipeError(f"--max-accuracy-drop: needs inputs with an array {LABELS!r}; give --inputs FILE.npz")
    if LABELS not in read_arrays(Path(file)):
        raise InputError(f"{file}: no array {LABELS!r}; add one with the right class of each example")


def _latency(entry: Mapping[str, Any], margin: float) -> Facts:
    found = {key: entry[key] for key in ("ratio", "low", "high", "verdict", "n_blocks")}
    times = {"new": entry["new_cpu_ms"], "baseline": entry["baseline_cpu_ms"]}
    return _check("latency", shape=_shape(entry), margin=margin, **times, **found)


def _outputs(entry: Mapping[str, Any], limit: float | None) -> Facts:
    difference = entry["output_difference"]
    verdict = _judged(difference, limit)
    return _check("outputs", shape=_size(entry), difference=difference, margin=limit, verdict=verdict)


def _instructions(entry: Mapping[str, Any], limit: float | None) -> Facts:
    limit = MAX_INSTRUCTIONS if limit is None else limit
    return _growth("instructions", entry["new"], entry["baseline"], limit, _size(entry))


def _flops(new: Path, baseline: Path, size: Mapping[str, Any], limit: float | None) -> Facts:
    ours, theirs = (flops.count(file, size["batch_size"], size["length"]) for file in (new, baseline))
    return _growth("flops", ours, theirs, limit, _size(size))


def _accuracy(found: Mapping[str, float] | None, n_examples: int, limit: float | None) -> Iterator[Facts]:
    """Compare the accuracies, if the inputs had labels; their difference is what was lost."""
    if found:
        lost = found["baseline"] - found["new"]
        yield _check(
            "accuracy", **found, difference=lost, margin=limit, verdict=_judged(lost, limit), n_examples=n_examples
        )


def _growth(
    name: str, new: float | None, baseline: float | None, limit: float | None, shape: str | None = None
) -> Facts:
    """Compare two numbers that are taken as they are; the bounds of their ratio are the ratio."""
    ratio = 0.0 if new is not None and new == baseline else new / baseline - 1 if new is not None and baseline else None
    found = {"ratio": ratio, "low": ratio, "high": ratio, "verdict": _judged(ratio, limit)}
    return _check(name, shape=shape, new=new, baseline=baseline, margin=limit, **found)


def _operations(new: Mapping[str, int], baseline: Mapping[str, int], limit: float | None) -> Facts:
    """Count the operations that the baseline has not: a kernel that fell back shows even if their sum is the same."""
    n_new = sum(max(0, count - baseline.get(name, 0)) for name, count in new.items())
    found = {"difference": n_new, "margin": limit, "verdict": _judged(n_new, limit)}
    return _check("operations", new=new, baseline=baseline, **found)


def _check(name: str, **found: Any) -> Facts:
    """Give every check the same keys."""
    return {"name": name, **dict.fromkeys(KEYS), **found}


def _judged(value: float | None, limit: float | None) -> str:
    """Judge what never varies; a value that cannot be known does not meet its limit."""
    if limit is None:
        return INFO
    return "pass" if value is not None and value <= limit + SLACK else "regression"


def _spreads(checks: Iterable[Facts]) -> Iterator[Facts]:
    """Sum up by shape what intervals around no difference looked like."""
    by_shape: dict[str, list[Facts]] = {}
    for each in checks:
        by_shape.setdefault(each["shape"], []).append(each)
    for shape, mine in by_shape.items():
        yield {
            "shape": shape,
            "ratio": statistics.median(each["ratio"] for each in mine),
            "low": statistics.median(each["low"] for each in mine),
            "high": statistics.median(each["high"] for each in mine),
            "half_width": statistics.median((each["high"] - each["low"]) / 2 for each in mine),
            "n_without_zero": sum(not each["low"] <= 0 <= each["high"] for each in mine),
        }


def _shape(entry: Mapping[str, Any]) -> str:
    """Name a shape: its size, and the threads where there are several."""
    size = _size(entry)
    return size if entry["threads"] == 1 else f"{size}, {entry['threads']} threads"


def _size(entry: Mapping[str, Any]) -> str:
    return size_name(entry["batch_size"], entry["length"])


def _sizes(shapes: Iterable[Facts]) -> list[Facts]:
    """Leave out shapes that differ in their threads alone."""
    return list({_size(entry): entry for entry in shapes}.values())
