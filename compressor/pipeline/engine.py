"""The straight line: recipe, original, stages, bench, report, gates."""

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from compressor import rundir
from compressor.errors import GateMissed, NumericsError, RecipeError, RunDirError
from compressor.files import explained, readable_json, write_json, write_text
from compressor.measure import launch
from compressor.model import Model, OnnxGraph, open_model, save_model
from compressor.model.artifact import open_task
from compressor.pipeline import provenance
from compressor.pipeline.original import original_variants
from compressor.pipeline.record import Facts, at_bench, facts_of, onnx_facts, variant
from compressor.pipeline.start import Start, begin, walk_dry
from compressor.pipeline.steps import Artifact, Step, steps_of
from compressor.progress import say
from compressor.recipe import Recipe, dump, packaged
from compressor.recipe.schema import STAGES, Bench
from compressor.report import card, page
from compressor.rundir import RunDir
from compressor.tasks import Task
from compressor.training.context import Context
from compressor.training.journal import LEFTOVERS
from compressor.training.teacher import Originals

STAGE_FOLDER = re.compile(r"\d\d-[a-z_]+")
WORLD_SIZE = "WORLD_SIZE"  # set by torchrun and accelerate launch: how many processes they started


def run(recipe: Recipe, run_dir: Path, *, recipe_file: str = "") -> dict[str, Any]:
    """Run what is left of a recipe and return the report; `GateMissed` comes after everything is written."""
    _require_one_process()
    with rundir.open_run(run_dir) as home, explained(run_dir):
        say(f"run directory: {run_dir}")
        is_written = _is_read_from(home.recipe, recipe, recipe_file)
        start = begin(recipe)
        list(walk_dry(recipe, start))  # refuses what does not fit
        metadata = provenance.metadata(start.source)
        facts = provenance.facts(recipe, recipe_file, start.source)
        provenance.compare_threads(readable_json(home.facts), facts)
        write_json(home.facts, facts)  # first: it marks the folder as that of a run
        if not is_written:
            write_text(home.recipe, dump(recipe))
        steps = list(steps_of(recipe, home, start.key))
        variants = _run_steps(recipe, home, start, steps, metadata)
        launch.measure_run(home, variants, recipe.bench.model_dump(mode="json"))
        report = page.write(run_dir)
        for folder, kind in _folders(steps):
            card.write_card(folder, report, kind, start.model.task.file)
    if missed := [verdict for verdict in report["gates"] if not verdict["met"]]:
        raise GateMissed("\n".join(_sentence(verdict) for verdict in missed))
    return report


def check(recipe: Recipe) -> dict[str, Any]:
    """Resolve everything, model and data included, and return the size after each stage; nothing is trained."""
    start = begin(recipe)
    return {**start.summary(), "stages": list(walk_dry(recipe, start))}


def _run_steps(
    recipe: Recipe, home: RunDir, start: Start, steps: Sequence[Step], metadata: Mapping[str, str]
) -> list[Facts]:
    """Run the steps that are not done; return the files to measure: the original's, then the results."""
    _keep_only([step.folder for step in steps], home)
    n_distilled = _n_distilled(recipe, start)
    originals = Originals(start.model.copy(), start.data, n_distilled) if start.is_trained else None
    variants = original_variants(recipe, home, originals, start.key, metadata) if originals else []
    artifact: Artifact = start.model
    facts = facts_of(start.model, recipe.bench)
    results: dict[str, Facts] = {}
    for index, step in enumerate(steps):
        done = rundir.facts_if_done(step.folder, step.key, step.label)
        if done is None:
            _keep_only([step.folder for step in steps[: index + 1]], home)  # the rest is of an earlier recipe
            named = {**metadata, "key": step.key}
            context = Context(step.folder, step.key, recipe.seed, start.data, originals, named, label=step.label)
            done = _run_step(step, artifact, context, recipe.bench, facts, home)
        else:
            say(f"{step.label:<24} done before")
        artifact = _reopen(step, artifact.task, done)
        facts = at_bench(done, artifact, recipe.bench, facts)
        rundir.note(step.folder, facts)
        if originals is None and isinstance(artifact, Model):
            originals = Originals(artifact.copy(), start.data, n_distilled)
            variants = original_variants(recipe, home, originals, step.key, metadata)
        if isinstance(artifact, OnnxGraph):
            stage = step.options.stage
            results[stage] = variant(f"{step.folder.name}/model.onnx", "result", stage == "quantize", facts)
    return [*variants, *results.values()]


def _n_distilled(recipe: Recipe, start: Start) -> int:
    """Count the examples that the stages will ask the original about."""
    phases = [phase for options in recipe.stages for phase in options.phases() if phase.distill is not None]
    return sum(phase.n_steps(len(start.data.augmented)) * phase.batch_size for phase in phases)


def _run_step(step: Step, artifact: Artifact, context: Context, bench: Bench, before: Facts, home: RunDir) -> Facts:
    """Run one stage, keep its result, and write down what it cost and gave."""
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
        facts = {**facts_of(result, bench), **context.trainer.evaluate(result)}
        facts["has_own_processor"] = result.task.processor is not artifact.task.processor
    else:
        facts = onnx_facts(result, before, context)
    cost = {"seconds": round(seconds, 3), "n_threads": torch.get_num_threads()}
    rundir.finish(step.folder, step.key, facts, LEFTOVERS, stage=step.options.stage, **cost)
    context.journal.clear()
    return facts


def _reopen(step: Step, task: Task, facts: Facts) -> Artifact:
    """Open what a finished stage left on disk, so that a resumed run and an undisturbed one go on alike."""
    if step.gives is OnnxGraph:
        return OnnxGraph(step.folder / "model.onnx", task)
    folder = step.folder / "model"
    return open_model(folder, open_task(folder, task) if facts["has_own_processor"] else task)


def _folders(steps: Sequence[Step]) -> Iterator[tuple[Path, Literal["model", "onnx"]]]:
    """Folders that can be used by themselves, and so carry a model card."""
    for step in steps:
        yield (step.folder / "model", "model") if step.gives is Model else (step.folder, "onnx")


def _keep_only(folders: Sequence[Path], home: RunDir) -> None:
    """Remove the folders of other stages, which an earlier version of the recipe left here."""
    for folder in home.path.iterdir():
        if STAGE_FOLDER.fullmatch(folder.name) and folder not in folders and _is_of_run(folder):
            say(f"{folder.name:<24} from an earlier version of the recipe, removed")
            rundir.remove(folder)


def _is_of_run(folder: Path) -> bool:
    return any((folder / mark).exists() for mark in (rundir.KEY, rundir.DONE))


def _require_one_process() -> None:
    n_processes = os.environ.get(WORLD_SIZE, "1")
    if n_processes.isdecimal() and int(n_processes) > 1:
        what = f"a run is one process, got {n_processes}; start it without torchrun or accelerate launch"
        raise RecipeError(f"{WORLD_SIZE}: {what}")


def _is_read_from(written: Path, recipe: Recipe, recipe_file: str) -> bool:
    """Whether the recipe is read from the very file that a run writes; it must say the same then."""
    if not (recipe_file and written.exists() and packaged.find(recipe_file).samefile(written)):
        return False
    if written.read_text(encoding="utf-8") != dump(recipe):
        raise RunDirError(f"{written}: the recipe being read would be written over; choose another --run-dir")
    return True


def _sentence(verdict: Mapping[str, Any]) -> str:
    value = "unknown" if verdict["value"] is None else f"{verdict['value']:.4g}"
    what = f"limit {verdict['limit']:g} missed, got {value} ({verdict['note']})"
    return f"gates.{verdict['name']}: {what}; change the stages, or the limit"
