"""A run from end to end: recipe, original, stages, bench, report, gates."""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from compressor import rundir
from compressor.bench.result import PlannedVariant, PlanSettings
from compressor.errors import GateMissed, NumericsError
from compressor.files import explained, write_json, write_text
from compressor.measure import launch
from compressor.model import Model, OnnxGraph, open_model, save_model
from compressor.model.artifact import open_task
from compressor.pipeline import provenance
from compressor.pipeline.original import original_variants
from compressor.pipeline.record import model_record, onnx_record, record_of, variant
from compressor.pipeline.start import Start, begin, walk_dry
from compressor.pipeline.steps import Artifact, Step, steps_of
from compressor.progress import say
from compressor.recipe import Recipe, dump
from compressor.recipe.schema import STAGES, Bench
from compressor.report import card, page
from compressor.report.document import CardKind, RecipePlan, Report, Verdict
from compressor.rundir import RunDir, StepRecord
from compressor.tasks import Task
from compressor.training.context import Context
from compressor.training.teacher import Originals

STAGE_FOLDER = re.compile(r"\d\d-[a-z_]+")


def run(recipe: Recipe, run_dir: Path, *, recipe_file: str = "") -> Report:
    """Run the unfinished steps of a recipe and return the report; `GateMissed` is raised once all is written."""
    with rundir.open_run(run_dir) as home, explained(run_dir):
        say(f"run directory: {run_dir}")
        start = begin(recipe)
        list(walk_dry(recipe, start))  # raises an error if a stage does not fit
        metadata = provenance.metadata(recipe)
        write_text(home.recipe, dump(recipe))
        rundir.write_run_record(home, provenance.run_record(recipe, recipe_file, metadata))
        steps = list(steps_of(recipe, home, start.key))
        variants = _run_steps(recipe, home, start, steps, metadata)
        launch.measure_run(home, variants, _bench_settings(recipe.bench))
        report = page.write(run_dir)
        for folder, kind in _folders(steps):
            card.write_card(folder, report, kind, start.model.task.file)
    if missed := [verdict for verdict in report["gates"] if not verdict["met"]]:
        raise GateMissed("\n".join(_sentence(verdict) for verdict in missed))
    return report


def check(recipe: Recipe) -> RecipePlan:
    """Resolve everything, model and data included, and return the size after each stage; nothing is trained."""
    start = begin(recipe)
    return {**start.summary(), "stages": list(walk_dry(recipe, start))}


def _run_steps(
    recipe: Recipe, home: RunDir, start: Start, steps: Sequence[Step], metadata: Mapping[str, str]
) -> list[PlannedVariant]:
    """Run the unfinished steps; return the files to measure: the original's, then the results."""
    _keep_only([step.folder for step in steps], home)
    n_distilled = _n_distilled(recipe, start)
    originals = Originals(start.model.copy(), start.data, n_distilled) if start.is_trained else None
    variants = original_variants(recipe, home, originals, start.key, metadata) if originals else []
    artifact: Artifact = start.model
    record = record_of(start.model, recipe.bench)
    results: dict[str, PlannedVariant] = {}
    for index, step in enumerate(steps):
        done = rundir.record_if_done(step.folder, step.key)
        if done is None:
            _keep_only([step.folder for step in steps[: index + 1]], home)  # the rest comes from an earlier recipe
            context = Context(step.folder, step.key, recipe.seed, start.data, originals, metadata, label=step.label)
            done = _run_step(step, artifact, context, recipe.bench, record, home)
        else:
            say(f"{step.label:<24} done before")
        record, artifact = done, _reopen(step, artifact.task, done)
        if originals is None and isinstance(artifact, Model):
            originals = Originals(artifact.copy(), start.data, n_distilled)
            variants = original_variants(recipe, home, originals, step.key, metadata)
        if isinstance(artifact, OnnxGraph):
            stage = step.options.stage
            results[stage] = variant(f"{step.folder.name}/model.onnx", "result", artifact.precision, record, record)
    return [*variants, *results.values()]


def _n_distilled(recipe: Recipe, start: Start) -> int:
    """Count the examples on which the stages compare a student with the original."""
    phases = [phase for options in recipe.stages for phase in options.phases() if phase.distill is not None]
    return sum(phase.n_steps(len(start.data.augmented)) * phase.batch_size for phase in phases)


def _run_step(
    step: Step, artifact: Artifact, context: Context, bench: Bench, before: StepRecord, home: RunDir
) -> StepRecord:
    """Run one stage, save its result, and record its time and its facts."""
    if (step.folder / rundir.DONE).exists():
        say(f"{step.label:<24} settings changed, running again")
    rundir.start(step.folder, step.key, step.rounds_key)
    home.forget_bench()
    began = time.monotonic()
    try:
        result = STAGES[step.options.stage].run(artifact, step.options, context)
    except NumericsError:
        write_json(step.folder / rundir.DIVERGED, step.rounds_key)
        raise
    seconds = time.monotonic() - began
    if isinstance(result, Model):
        save_model(result, step.folder / "model")
        record = model_record(result, bench, context)
        record["has_own_processor"] = result.task.processor is not artifact.task.processor
    else:
        record = onnx_record(result, before, context)
    rundir.finish(step.folder, step.key, record, stage=step.options.stage, seconds=round(seconds, 3))
    context.journal.clear()
    return record


def _bench_settings(bench: Bench) -> PlanSettings:
    """Keys of the bench's plan that a recipe sets."""
    return {
        "batch_sizes": list(bench.batch_sizes),
        "lengths": list(bench.lengths),
        "threads": list(bench.threads),
        "meter": bench.meter,
    }


def _reopen(step: Step, task: Task, record: StepRecord) -> Artifact:
    """Open a finished stage's result from disk, so that a resumed run continues exactly as an undisturbed one."""
    if step.gives is OnnxGraph:
        return OnnxGraph(step.folder / "model.onnx", task, rundir.precision_of(record, step.options.stage))
    folder = step.folder / "model"
    return open_model(folder, open_task(folder, task) if record["has_own_processor"] else task)


def _folders(steps: Sequence[Step]) -> Iterator[tuple[Path, CardKind]]:
    """Yield the folders that can be used on their own, and therefore get a model card."""
    for step in steps:
        yield (step.folder / "model", "model") if step.gives is Model else (step.folder, "onnx")


def _keep_only(folders: Sequence[Path], home: RunDir) -> None:
    """Remove the folders of other stages, which an earlier version of the recipe left here."""
    for folder in home.path.iterdir():
        if STAGE_FOLDER.fullmatch(folder.name) and (folder / rundir.KEY).exists() and folder not in folders:
            say(f"{folder.name:<24} from an earlier version of the recipe, removed")
            rundir.remove(folder)


def _sentence(verdict: Verdict) -> str:
    value = "unknown" if verdict["value"] is None else f"{verdict['value']:.4g}"
    what = f"limit {verdict['limit']:g} missed, got {value} ({verdict['note']})"
    return f"gates.{verdict['name']}: {what}; change the stages, or the limit"
