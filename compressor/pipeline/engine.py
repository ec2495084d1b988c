"""A run from end to end: recipe, original, stages, bench, report, gates."""

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from compressor import rundir
from compressor.bench.result import PlannedVariant
from compressor.errors import GateMissed, NumericsError, RecipeError, RunDirError
from compressor.files import explained, readable_json, write_json, write_text
from compressor.measure import launch
from compressor.model import Model, OnnxGraph, load_model, open_model, save_model
from compressor.model.artifact import open_task
from compressor.pipeline import heap, needs, provenance
from compressor.pipeline.original import original_variants
from compressor.pipeline.record import at_bench, bench_settings, model_record, onnx_record, record_of, variant
from compressor.pipeline.shipping import shipping_of
from compressor.pipeline.start import Start, begin, walk_dry
from compressor.pipeline.steps import Artifact, Step, steps_of
from compressor.progress import said_before, say
from compressor.recipe import Recipe, dump, packaged
from compressor.recipe.schema import STAGES, Bench
from compressor.report import card, dataset, page
from compressor.report.document import CardKind, RecipePlan, Report, Verdict
from compressor.rundir import RunDir, StepRecord
from compressor.rundir import step as stepdir
from compressor.tasks import Task, task_file
from compressor.training import remembered
from compressor.training.context import Context
from compressor.training.journal import LEFTOVERS
from compressor.training.remembered import AnswerFiles
from compressor.training.shipping import Shipping
from compressor.training.teacher import Originals

STAGE_FOLDER = re.compile(r"\d\d-[a-z_]+")
WORLD_SIZE = "WORLD_SIZE"  # set by torchrun and accelerate launch: how many processes they started


def run(recipe: Recipe, run_dir: Path, *, recipe_file: str = "") -> Report:
    """Run the unfinished steps of a recipe and return the report; `GateMissed` is raised once all is written."""
    _require_one_process()
    with rundir.open_run(run_dir) as home, explained(run_dir):
        say(f"run directory: {run_dir}")
        is_written = _is_read_from(home.recipe, recipe, recipe_file)
        start = begin(recipe)
        recipe = start.recipe
        for remark in [*dataset.remarks(start.read), *dataset.padding(start.padding_gap)]:
            say(remark)
        stages = list(walk_dry(recipe, start))  # raises an error if a stage does not fit
        needs.require_disk(run_dir, needs.of_run(stages, start.model))
        metadata = provenance.metadata(start.source)
        run_record = provenance.run_record(recipe, recipe_file, start.source)
        provenance.compare_threads(readable_json(home.record), run_record)
        rundir.write_run_record(home, run_record)  # first: it marks the folder as that of a run
        if not is_written:
            write_text(home.recipe, dump(recipe))
        steps = list(steps_of(recipe, home, start.key))
        variants = _run_steps(recipe, home, start, steps, metadata)
        launch.measure_run(home, variants, bench_settings(recipe.bench))
        report = page.write(run_dir)
        for folder, kind in _folders(steps):
            card.write_card(folder, report, kind, task_file(recipe.model.task))
    if missed := [verdict for verdict in report["gates"] if not verdict["met"]]:
        raise GateMissed("\n".join(_sentence(verdict) for verdict in missed), report)
    return report


def check(recipe: Recipe) -> RecipePlan:
    """Resolve everything, model and data included, and return the size after each stage; nothing is trained."""
    start = begin(recipe)
    stages = list(walk_dry(start.recipe, start))
    return {**start.summary(), "stages": stages, "needs": needs.of_run(stages, start.model)}


def _run_steps(
    recipe: Recipe, home: RunDir, start: Start, steps: Sequence[Step], metadata: Mapping[str, str]
) -> list[PlannedVariant]:
    """Run the unfinished steps; return the files to measure: the original's, then the results."""
    _keep_only([step.folder for step in steps], home)
    n_distilled = start.n_distilled(recipe)
    model = start.give_up_model()
    record = record_of(model, recipe.bench)
    originals, variants = None, []
    shipping = shipping_of(recipe, start.data, start.key, home)
    if start.is_trained:
        answers, reload = AnswerFiles(home.path, start.key), partial(_load_again, recipe, model.task)
        originals = Originals(model, reload, start.data, answers, n_distilled)
        variants = original_variants(recipe, home, originals, start.key, metadata, shipping)
    artifact: Artifact = model
    del model
    results: dict[str, PlannedVariant] = {}
    for index, step in enumerate(steps):
        _let_go(originals, steps[index:], home)
        done = stepdir.record_if_done(step.folder, step.key, step.label)
        if done is None:
            _keep_only([step.folder for step in steps[: index + 1]], home)  # the rest comes from an earlier recipe
            context = _context(step, recipe, start, originals, metadata, shipping)
            done = _run_step(step, artifact, context, recipe.bench, record, home)
            del context
        else:
            say(f"{step.label:<24} done before")
        task = artifact.task
        del artifact  # before the next one is read
        heap.give_back()
        artifact = _reopen(step, task, done)
        record = at_bench(done, artifact, recipe.bench, record)
        stepdir.replace_record(step.folder, record)
        if originals is None and isinstance(artifact, Model):
            answers, reload = AnswerFiles(home.path, step.key), partial(open_model, step.folder / "model", task)
            originals = Originals(artifact, reload, start.data, answers, n_distilled)
            variants = original_variants(recipe, home, originals, step.key, metadata, shipping)
        if isinstance(artifact, OnnxGraph):
            stage = step.options.stage
            results[stage] = variant(f"{step.folder.name}/model.onnx", "result", artifact.precision, record, record)
    return [*variants, *results.values()]


def _let_go(originals: Originals | None, left: Sequence[Step], home: RunDir) -> None:
    """Give up what the steps that are left do not need: the original in memory, and the teacher's answers."""
    if originals is not None:
        originals.release()
    heap.give_back()
    if not any(step.options.distilled() for step in left):
        remembered.remove(home.path)


def _context(
    step: Step,
    recipe: Recipe,
    start: Start,
    originals: Originals | None,
    metadata: Mapping[str, str],
    shipping: Shipping,
) -> Context:
    named = {**metadata, "key": step.key}
    return Context(
        step.folder, step.key, recipe.seed, start.data, originals, named, label=step.label, shipping=shipping
    )


def _load_again(recipe: Recipe, task: Task) -> Model:
    """Read the checkpoint of a recipe once more."""
    with said_before():
        return replace(load_model(recipe.model, None), task=task)


def _run_step(
    step: Step, artifact: Artifact, context: Context, bench: Bench, before: StepRecord, home: RunDir
) -> StepRecord:
    """Run one stage, save its result, and record its time and its facts."""
    stepdir.start(step.folder, step.key, step.rounds_key)
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
    cost: rundir.Cost = {
        "stage": step.options.stage,
        "seconds": round(seconds, 3),
        "n_threads": torch.get_num_threads(),
    }
    stepdir.finish(step.folder, step.key, record, cost, LEFTOVERS)
    context.journal.clear()
    return record


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
        if STAGE_FOLDER.fullmatch(folder.name) and folder not in folders and _is_of_run(folder):
            say(f"{folder.name:<24} from an earlier version of the recipe, removed")
            stepdir.remove(folder)


def _is_of_run(folder: Path) -> bool:
    """Whether a step wrote into a folder."""
    return any((folder / mark).exists() for mark in (rundir.KEY, rundir.DONE))


def _require_one_process() -> None:
    n_processes = os.environ.get(WORLD_SIZE, "1")
    if n_processes.isdecimal() and int(n_processes) > 1:
        what = f"a run is one process, got {n_processes}; start it without torchrun or accelerate launch"
        raise RecipeError(f"{WORLD_SIZE}: {what}")


def _is_read_from(written: Path, recipe: Recipe, recipe_file: str) -> bool:
    """Whether the recipe is read from the very file that a run writes; the two must agree then."""
    if not (recipe_file and written.exists() and packaged.find(recipe_file).samefile(written)):
        return False
    if written.read_text(encoding="utf-8") != dump(recipe):
        raise RunDirError(f"{written}: the recipe being read would be overwritten; choose another --run-dir")
    return True


def _sentence(verdict: Verdict) -> str:
    value = "unknown" if verdict["value"] is None else f"{verdict['value']:.4g}"
    what = f"limit {verdict['limit']:g} missed, got {value} ({verdict['note']})"
    return f"gates.{verdict['name']}: {what}; change the stages, or the limit"
