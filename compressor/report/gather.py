"""From the files of a run to the report: the original, what each stage cost and gave, what was measured."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import yaml

from compressor.bench.conforms import misfit
from compressor.bench.reading import parsed_json, read_json, read_text
from compressor.bench.result import Kind, Result, Variant, variant_name
from compressor.errors import InputError, first_line
from compressor.files import read_json as read_known
from compressor.report import measured, widths
from compressor.report.document import (
    FORMAT,
    CostsAndGains,
    Features,
    Gathered,
    RecipeDocument,
    ReportEnvironment,
    Round,
    StageSummary,
    WidthChange,
)
from compressor.rundir import (
    DONE,
    TARGET,
    Done,
    Environment,
    FileRecord,
    RunDir,
    RunRecord,
    StepRecord,
    TargetRecord,
    precision_of,
    read_done,
    read_run_record,
)

Document = TypeVar("Document")
CURE = "run the recipe again to write it again"
NOT_DONE: CostsAndGains = {
    "n_params": None,
    "n_flops": None,
    "size_bytes": None,
    "sparsity": None,
    "column_sparsity": None,
    "accuracy_held_out": None,
    "accuracy": None,
}


@dataclass(frozen=True)
class FinishedStage:
    """What a stage left in its folder."""

    name: str
    folder: str
    seconds: float
    n_threads: int | None
    record: StepRecord
    rounds: list[Round]
    target: TargetRecord | None


def gather(path: Path, elsewhere: Path | None = None) -> Gathered:
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
    if not run.record.is_file() or not run.recipe.is_file():
        raise InputError(f"{path}: no run there, run.json or recipe.yaml is missing; give the folder of a run")
    record = _undamaged(run.record, lambda _: read_run_record(run), RunRecord)
    original = _record(run.original)
    recipe = _undamaged(run.recipe, _read_recipe, RecipeDocument)
    stages = list(_stages(run, [section["stage"] for section in recipe["stages"]]))
    is_through = len(stages) == len(recipe["stages"])
    bench = _measured_here(run) if is_through else None  # else it belongs to an earlier version of the recipe
    variants = bench["variants"] if bench else [*_originals(original), *_results(stages)]
    if elsewhere:
        if not is_through:
            raise InputError(f"{path}: not finished, so {elsewhere} is of other files; finish the run first")
        bench = measured.read(elsewhere)
        variants = measured.elsewhere(variants, bench, elsewhere)
    last = stages[-1].record if stages else original
    return {
        "format": FORMAT,
        "name": path.resolve().name.encode(errors="replace").decode(),
        "source": record["source"],
        "recipe_file": record["recipe_file"],
        "recipe": recipe,
        "environment": _environment(record["environment"], bench),
        "is_measured": bench is not None,
        "bench_file": elsewhere.name if elsewhere else None,
        "variants": variants,
        "widths": _widths(original, last),
        "features": _features(original, last),
        "factorized": last.get("factorized", []) if last else [],
        "flops_at": next(iter(original.get("n_flops") or {}), "") if original else "",
        "original": _costs_and_gains(original, original),
        "stages": [_summary(stage, original) for stage in stages],
    }


def _measured_here(run: RunDir) -> Result | None:
    if not run.bench.exists():
        return None
    return _undamaged(run.bench, lambda file: measured.checked(read_json(file)), object)


def _stages(run: RunDir, names: Sequence[str]) -> Iterator[FinishedStage]:
    """Yield the stages that are done, up to the first that is not; what follows that one is out of date."""
    for index, name in enumerate(names):
        folder = run.stage(index, name)
        done = _undamaged(folder / DONE, lambda file: read_done(file.parent), Done)
        if done is None:
            return
        if "stage" not in done or "seconds" not in done:
            raise InputError(f"{folder / DONE}: damaged, it lacks 'stage' or 'seconds'; {CURE}")
        rounds = list(_rounds(folder / "rounds.jsonl"))
        target: TargetRecord | None = _undamaged(folder / TARGET, read_known, TargetRecord)
        took = done["seconds"], done.get("n_threads")
        yield FinishedStage(done["stage"], folder.name, *took, done["facts"], rounds, target)


def _rounds(log: Path) -> Iterator[Round]:
    """Yield the lines of a stage's log that belong to a round; stages without rounds log other numbers."""
    lines = _undamaged(log, _read_lines, list[Round]) if log.exists() else []
    yield from (line for line in lines if "round" in line)


def _read_lines(log: Path) -> list[Round]:
    return [parsed_json(line) for line in read_text(log).splitlines()]


def _summary(stage: FinishedStage, original: StepRecord | None) -> StageSummary:
    """Keep of a stage what it cost and gave."""
    return {
        "name": stage.name,
        "folder": stage.folder,
        "seconds": stage.seconds,
        "n_threads": stage.n_threads,
        **_costs_and_gains(stage.record, original),
        "widths": _widths(original, stage.record),
        "features": _features(original, stage.record),
        "factorized": stage.record.get("factorized", []),
        "rounds": stage.rounds,
        "target": stage.target,
    }


def _costs_and_gains(record: StepRecord | None, original: StepRecord | None) -> CostsAndGains:
    """Pick what stages are compared by, FLOPs at the original's first shape; unknown while a step is not done."""
    if record is None:
        return NOT_DONE
    first = next(iter((original or record).get("n_flops") or {}), "")
    return {
        "n_params": record.get("n_params"),
        "n_flops": (record.get("n_flops") or {}).get(first),
        "size_bytes": record.get("size_bytes"),
        "sparsity": record.get("sparsity"),
        "column_sparsity": record.get("column_sparsity"),
        "accuracy_held_out": record.get("accuracy_held_out"),
        "accuracy": record.get("accuracy"),
    }


def _originals(original: StepRecord | None) -> Iterator[Variant]:
    """Yield the original's files as variants that were not measured yet."""
    if original is not None:
        for name, file in original.get("files", {}).items():
            yield _unmeasured("original", f"original/{name}", name, file, original)


def _results(stages: Sequence[FinishedStage]) -> Iterator[Variant]:
    """Yield the files of the last export and the last quantization as variants that were not measured yet."""
    last = {stage.name: stage.record for stage in stages if "file" in stage.record}
    for name, record in last.items():
        yield _unmeasured("result", record["file"], name, record, record)


def _unmeasured(kind: Kind, place: str, origin: str, file: FileRecord | StepRecord, model: StepRecord) -> Variant:
    """Describe a file by what was recorded of it, and of the model that it was made of."""
    precision = precision_of(file, origin)
    return measured.variant(
        {
            "name": variant_name(kind, precision),
            "kind": kind,
            "file": place,
            "precision": precision,
            "accuracy": file.get("accuracy"),
            "n_examples": file.get("n_examples"),
            "split": file.get("split"),
            "n_params": model.get("n_params"),
            "size_bytes": file["size_bytes"],
            "load_ms": None,
            "load_range_ms": None,
            "peak_memory_bytes": None,
            "output_difference": None,
            "bench": [],
        }
    )


def _widths(original: StepRecord | None, record: StepRecord | None) -> list[WidthChange]:
    """Compare each width of the original with what is left of it; a removed layer has no units left."""
    if original is None or record is None:
        return []
    before, left = (
        {widths.original_name(name, step["layers"]): n_units for name, n_units in step["widths"].items()}
        for step in (original, record)
    )
    return [
        {"name": name, "n_units_original": n_units, "n_units": left.get(name, 0), "is_removed": name not in left}
        for name, n_units in before.items()
    ]


def _features(original: StepRecord | None, record: StepRecord | None) -> Features | None:
    """Name the features of a table that the original reads, and which of them are left; None without a table."""
    names = original.get("features") if original else None
    return {"original": names, "kept": record.get("features", [])} if names and record else None


def _environment(run: Environment, bench: Result | None) -> ReportEnvironment:
    """Take processor and runtime from where the files were measured, which may be a board."""
    if bench is None:
        return {**run, "measured": None}
    there = bench["environment"]
    return {**run, "cpu": there["cpu"], "n_cores": there["n_cores"], "measured": there}


def _record(folder: Path) -> StepRecord | None:
    done = _undamaged(folder / DONE, lambda file: read_done(file.parent), Done)
    return done["facts"] if done else None


def _read_recipe(path: Path) -> RecipeDocument:
    try:
        recipe: RecipeDocument = yaml.safe_load(read_text(path))
        json.dumps(recipe, ensure_ascii=False, default=str).encode()  # half of a surrogate pair cannot be written
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(first_line(error)) from error
    return recipe


def _undamaged(path: Path, read: Callable[[Path], Document], kind: object) -> Document:
    """Read a document of the run; one that cannot be parsed, or holds something else, is an `InputError`."""
    try:
        document = read(path)
        wrong = misfit(document, kind) if document is not None else ""
    except (ValueError, OSError) as error:
        wrong = first_line(error)
    if wrong:
        raise InputError(f"{path}: damaged, {wrong}; {CURE}")
    return document
