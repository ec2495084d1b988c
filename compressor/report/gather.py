"""From the files of a run to the report: what was there, what each stage cost and gave, what was measured."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from compressor.errors import InputError
from compressor.files import read_json
from compressor.report import measured
from compressor.rundir import DONE, RunDir

FORMAT = 1
COSTS_AND_GAINS = ("n_params", "n_flops", "size_bytes", "sparsity", "column_sparsity", "accuracy_held_out", "accuracy")
LAYER = re.compile(r"^(.*\blayer\.)(\d+)(\..*)$")  # names of widths: layer.0.ffn, encoder.layer.3.heads


def gather(path: Path, elsewhere: Path | None = None) -> dict[str, Any]:
    """Collect what a run has written so far; what it has not reached yet stays empty.

    Parameters
    ----------
    path : Path
        The run directory. It is only read.
    elsewhere : Path, optional
        What the bench wrote on another machine about the files of the run, in place of what it wrote here.

    Returns
    -------
    dict
        Everything of ``report.json`` but the gates.

    Raises
    ------
    InputError
        If the folder holds no run, one of its files is damaged, or the other machine measured other files.
    """
    run = RunDir(path)
    if not run.facts.is_file() or not run.recipe.is_file():
        raise InputError(f"{path}: no run there, run.json or recipe.yaml is missing; give the folder of a run")
    facts, original = _json(run.facts), _facts(run.original)
    recipe = yaml.safe_load(run.recipe.read_text(encoding="utf-8"))
    done = list(_stages(run, [entry["stage"] for entry in recipe["stages"]]))
    is_through = len(done) == len(recipe["stages"])
    bench = _measured_here(run) if is_through else None  # else it is of an earlier version of the recipe
    variants = bench["variants"] if bench else [*_originals(original), *_results(done)]
    if elsewhere:
        if not is_through:
            raise InputError(f"{path}: not finished, so {elsewhere} is of other files; finish the run first")
        bench = measured.read(elsewhere)
        variants = measured.elsewhere(variants, bench, elsewhere)
    return {
        "format": FORMAT,
        "name": path.resolve().name,
        "source": facts["source"],
        "recipe_file": facts["recipe_file"],
        "recipe": recipe,
        "environment": facts["environment"] | _measured_on(bench),
        "is_measured": bench is not None,
        "bench_file": elsewhere.name if elsewhere else None,
        "variants": variants,
        "widths": _widths(original, done[-1]["facts"] if done else original),
        "features": _features(original, done[-1]["facts"] if done else original),
        "flops_at": next(iter(original.get("n_flops") or {}), ""),
        "original": _costs_and_gains(original, original),
        "stages": [_summary(stage, original) for stage in done],
    }


def _measured_here(run: RunDir) -> dict[str, Any] | None:
    found = _json(run.bench)
    return measured.completed(found) if found else None


def _stages(run: RunDir, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the stages that are done, up to the first that is not; what lies behind it is out of date."""
    for index, name in enumerate(names):
        folder = run.stage(index, name)
        done = _json(folder / DONE)
        if done is None:
            return
        yield {**done, "folder": folder.name, "rounds": list(_rounds(folder / "rounds.jsonl"))}


def _rounds(log: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a stage's log that belong to a round; stages without rounds log other facts."""
    lines = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
    yield from (line for line in map(json.loads, lines) if "round" in line)


def _summary(stage: Mapping[str, Any], original: Mapping[str, Any]) -> dict[str, Any]:
    """Keep of a stage what it cost and gave."""
    facts = stage["facts"]
    return {
        "name": stage["stage"],
        "folder": stage["folder"],
        "seconds": stage["seconds"],
        "n_threads": stage.get("n_threads"),
        **_costs_and_gains(facts, original),
        "widths": _widths(original, facts),
        "features": _features(original, facts),
        "rounds": stage["rounds"],
    }


def _costs_and_gains(facts: Mapping[str, Any], original: Mapping[str, Any]) -> dict[str, Any]:
    """Pick what stages are compared by; operations are those at the original's first shape, and at no other."""
    counts: Mapping[str, int] = facts.get("n_flops") or {}
    first = next(iter(original.get("n_flops") or {}), None)
    return {name: facts.get(name) for name in COSTS_AND_GAINS} | {"n_flops": counts.get(first) if first else None}


def _originals(facts: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the original's files as variants that were not measured yet."""
    for name, of_file in facts.get("files", {}).items():
        variant = {"kind": "original", "file": f"original/{name}", "quantized": "int8" in name}
        yield _unmeasured(variant, {"n_params": facts.get("n_params"), **of_file})


def _results(stages: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the files of the last export and the last quantization as variants that were not measured yet."""
    last = {stage["stage"]: stage["facts"] for stage in stages if "file" in stage["facts"]}
    for name, facts in last.items():
        variant = {"kind": "result", "file": facts["file"], "quantized": name == "quantize"}
        yield _unmeasured(variant, facts)


def _unmeasured(variant: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    name = (
        f"{'original' if variant['kind'] == 'original' else 'compressed'} {'int8' if variant['quantized'] else 'fp32'}"
    )
    known = {key: facts.get(key) for key in ("accuracy", "n_examples", "split", "n_params", "size_bytes")}
    return measured.variant({"name": name, **variant, **known, "bench": []})


def _widths(original: Mapping[str, Any], facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Compare each width of the original with what is left of it; a removed layer has no units left."""
    if not original:
        return []
    before, left = (
        {_original_name(name, each["layers"]): n_units for name, n_units in each["widths"].items()}
        for each in (original, facts)
    )
    return [
        {"name": name, "n_units_original": n_units, "n_units": left.get(name, 0), "is_removed": name not in left}
        for name, n_units in before.items()
    ]


def _features(original: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, list[str]] | None:
    """Name the features of a table that the original reads, and which of them are left; None without a table."""
    names = original.get("features")
    return {"original": names, "kept": facts["features"]} if names else None


def _original_name(name: str, layers: Sequence[int]) -> str:
    """Undo the renumbering of layers: layer.1.ffn is layer.2.ffn of the original if 0, 2 and 5 were kept."""
    found = LAYER.match(name)
    return f"{found[1]}{layers[int(found[2])]}{found[3]}" if found and layers else name


def _measured_on(bench: Mapping[str, Any] | None) -> dict[str, Any]:
    """Take processor and runtime from where the files were measured, which may be a board."""
    if bench is None:
        return {"measured": None}
    there = bench["environment"]
    return {"cpu": there["cpu"], "n_cores": there["n_cores"], "measured": there}


def _facts(folder: Path) -> dict[str, Any]:
    done = _json(folder / DONE)
    return done["facts"] if done else {}


def _json(path: Path) -> Any:
    try:
        return read_json(path)
    except ValueError as error:
        raise InputError(f"{path}: damaged, {error}; run the recipe again to write it anew") from error
