"""The straight line: recipe, original, stages, bench, report, gates."""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_type_hints

import torch

from compressor import __version__, rundir, surgery
from compressor.bench.result import PlannedVariant, PlanSettings, Precision
from compressor.data.augment import augmented
from compressor.data.batches import Data, prepare
from compressor.data.dataset import open_dataset
from compressor.errors import GateMissed, InputError, NumericsError, RecipeError
from compressor.files import explained, write_json, write_text
from compressor.measure import launch
from compressor.model.artifact import Model, OnnxGraph, Task, load_model, open_model, open_task, save_model
from compressor.model.checkpoint import digest, is_fine_tuned
from compressor.options import Base
from compressor.pipeline import provenance
from compressor.pipeline.record import file_record, n_units, onnx_record, record_of, variant
from compressor.progress import say
from compressor.recipe.schema import STAGES, Bench, Recipe, dump
from compressor.report import card, page
from compressor.report import document as documents
from compressor.report.document import CardKind, PlannedStage, RecipePlan, Report, Verdict
from compressor.rundir import FileRecord, HeldOut, RunDir, StepRecord
from compressor.stages import export, finetune, quantize
from compressor.training.context import Context, Originals
from compressor.training.options import Retrain
from compressor.training.phase import n_steps

Artifact = Model | OnnxGraph
STAGE_FOLDER = re.compile(r"\d\d-[a-z_]+")


@dataclass
class Start:
    """What a run starts from."""

    model: Model
    data: Data
    key: str
    is_trained: bool
    """The checkpoint is fine-tuned and so is the original; else the first stage makes the original."""
    report: documents.Start
    """What `check` says of the model and the data."""


def run(recipe: Recipe, run_dir: Path, *, recipe_file: str = "") -> Report:
    """Run what is left of a recipe and return the report; `GateMissed` comes after everything is written."""
    with rundir.open_run(run_dir) as files, explained(run_dir):
        say(f"run directory: {run_dir}")
        start = _start(recipe)
        list(_walk_dry(recipe, start))
        metadata = provenance.metadata(recipe)
        write_text(files.recipe, dump(recipe))
        rundir.write_run_record(files, provenance.run_record(recipe, recipe_file, metadata))
        variants = list(_run_stages(recipe, files, start, metadata))
        launch.measure_run(files, variants, _bench_settings(recipe.bench))
        report = page.write(run_dir)
        for folder, kind in _folders(recipe, files):
            card.write_card(folder, report, kind)
    if missed := [each for each in report["gates"] if not each["met"]]:
        raise GateMissed("\n".join(_sentence(each) for each in missed))
    return report


def check(recipe: Recipe) -> RecipePlan:
    """Resolve everything, model and data included, and return the size after each stage; nothing is trained."""
    start = _start(recipe)
    return {**start.report, "stages": list(_walk_dry(recipe, start))}


def _start(recipe: Recipe) -> Start:
    """Load the data and the model, and let them agree on the labels."""
    raw = open_dataset(recipe.data, recipe.model.task)
    torch.manual_seed(recipe.seed)
    model = load_model(recipe.model, raw.labels, raw.features)
    for name, weights in model.net.named_parameters():
        if not weights.isfinite().all():
            raise InputError(f"model.checkpoint: {name!r} holds NaN or infinite weights; fetch or train it again")
    data = prepare(raw, recipe.data, model.task, recipe.seed)
    if recipe.data.augment is not None:
        data = replace(data, augmented=augmented(data.train, recipe.data.augment, model, recipe.seed))
    where = {"dataset", "revision"}  # the digest says what was found there
    settings = recipe.data.model_dump(mode="json", exclude=where)
    key = rundir.chain(__version__, recipe.seed, digest(recipe.model), raw.digest, settings)
    is_trained = is_fine_tuned(recipe.model)
    if not is_trained:
        _check_first(recipe)
    report: documents.Start = {
        "model": {
            "family": model.net.config.model_type,
            "n_params": surgery.n_params(model.net),
            "is_trained": is_trained,
        },
        "data": {"train": len(data.train), "held_out": len(data.held_out), data.report_name: len(data.report)},
    }
    return Start(model, data, key, is_trained, report)


def _check_first(recipe: Recipe) -> None:
    """Refuse a network without a head if the first stage does not train one from the labels alone."""
    first = recipe.stages[0]
    if not isinstance(first, finetune.Options):
        raise InputError(
            f"model.checkpoint: {recipe.model.checkpoint!r} has no head for {recipe.model.task}; "
            "let the first stage be finetune, or give a fine-tuned checkpoint"
        )
    if first.retrain.distill is not None:
        raise RecipeError("stages[0] (finetune): it makes the original, so it has none to learn from; remove 'distill'")


def _walk_dry(recipe: Recipe, start: Start) -> Iterator[PlannedStage]:
    """Take a copy of the model through the stages without training; what does not fit is found here."""
    model = start.model.copy()
    for index, options in enumerate(recipe.stages):
        stage = STAGES[options.stage]
        if _gives(options) is Model:
            context = Context(Path(), "", recipe.seed, start.data, Originals(start.model, start.data), is_dry=True)
            try:
                model = stage.run(model, options, context)
            except ValueError as error:
                raise RecipeError(f"stages[{index}] ({options.stage}): {error}") from error
        yield {"stage": options.stage, "n_params": surgery.n_params(model.net), "widths": n_units(model)}


def _gives(options: Base) -> type[Artifact]:
    """Kind of artifact that a stage gives."""
    found: type[Artifact] = get_type_hints(STAGES[options.stage].run)["return"]  # type: ignore[attr-defined]
    return found


def _run_stages(recipe: Recipe, files: RunDir, start: Start, metadata: Mapping[str, str]) -> Iterator[PlannedVariant]:
    """Run the stages that are not done; yield the files to measure: the original's, then the results."""
    folders = [files.stage(index, options.stage) for index, options in enumerate(recipe.stages)]
    _keep_only(folders, files)
    key, facts = start.key, record_of(start.model, recipe.bench)
    artifact: Artifact = start.model
    n_distilled = sum(_n_distilled(options, start.data) for options in recipe.stages)
    originals: Originals | None = None
    if start.is_trained:
        originals = Originals(start.model.copy(), start.data, n_distilled)
        yield from _original_files(recipe, files, start, originals, key, metadata)
    results: dict[str, PlannedVariant] = {}
    for index, options in enumerate(recipe.stages):
        settings = options.model_dump(mode="json")
        rounds_key = rundir.chain(key, {**settings, "retrain": None})
        key = rundir.chain(key, settings)
        folder = folders[index]
        label = f"[{index + 1}/{len(recipe.stages)}] {options.stage}"
        context = Context(folder, key, recipe.seed, start.data, originals, metadata, label=label)
        done = rundir.record_if_done(folder, key)
        if done is None:
            if (folder / rundir.DONE).exists():
                say(f"{label:<24} settings changed, running again")
            rundir.start(folder, key, rounds_key)
            _keep_only(folders[: index + 1], files)  # what follows belongs to an earlier version of the recipe
            files.forget_bench()
            done = _run_stage(artifact, options, context, recipe.bench, facts, rounds_key)
        else:
            say(f"{label:<24} done before")
        is_trimmed = done["widths"].get("vocabulary") != facts["widths"].get("vocabulary")
        task = open_task(folder / "model", artifact.task) if is_trimmed else artifact.task
        precision = rundir.precision_of(done, options.stage)
        facts, artifact = done, _reopen(folder, options, task, precision)
        if originals is None and isinstance(artifact, Model):
            originals = Originals(artifact.copy(), start.data, n_distilled)
            yield from _original_files(recipe, files, start, originals, key, metadata)
        if isinstance(artifact, OnnxGraph):
            results[options.stage] = variant(f"{folder.name}/model.onnx", "result", precision, facts, facts)
    yield from results.values()


def _n_distilled(options: Base, data: Data) -> int:
    """Examples that a stage will ask the original about."""
    retrain: Retrain | None = getattr(options, "retrain", None)
    if retrain is None or retrain.distill is None:
        return 0
    n_rounds: int = getattr(options, "n_rounds", 1)
    return n_rounds * n_steps(retrain, data.augmented) * retrain.batch_size


def _run_stage(
    artifact: Artifact, options: Base, context: Context, bench: Bench, before: StepRecord, rounds_key: str
) -> StepRecord:
    """Run one stage, keep its result, and write down what it cost and gave."""
    began = time.monotonic()
    name = options.stage  # type: ignore[attr-defined]
    try:
        result = STAGES[name].run(artifact, options, context)
    except NumericsError:
        write_json(context.folder / rundir.DIVERGED, rounds_key)
        raise
    seconds = time.monotonic() - began
    if isinstance(result, Model):
        save_model(result, context.folder / "model")
        facts: StepRecord = {**record_of(result, bench), **_held_out(result, context)}
    else:
        facts = onnx_record(result, before, context)
    rundir.finish(context.folder, context.key, facts, stage=name, seconds=round(seconds, 3))
    for pattern in ("*.safetensors", "step.json", "round.json"):  # what resuming needed
        for leftover in context.folder.glob(pattern):
            leftover.unlink()
    return facts


def _held_out(model: Model, context: Context) -> HeldOut:
    return {"accuracy_held_out": context.evaluate(model)["accuracy_held_out"]}


def _bench_settings(bench: Bench) -> PlanSettings:
    """Keys of the bench's plan that a recipe sets."""
    return {
        "batch_sizes": list(bench.batch_sizes),
        "lengths": list(bench.lengths),
        "threads": list(bench.threads),
        "meter": bench.meter,
    }


def _reopen(folder: Path, options: Base, task: Task, precision: Precision) -> Artifact:
    """Open what a finished stage left on disk, so that a resumed run and an undisturbed one go on alike."""
    if _gives(options) is Model:
        return open_model(folder / "model", task)
    return OnnxGraph(folder / "model.onnx", task, precision)


def _original_files(
    recipe: Recipe, files: RunDir, start: Start, originals: Originals, key: str, metadata: Mapping[str, str]
) -> Iterator[PlannedVariant]:
    """Export and quantize the original as the result will be, for a fair comparison."""
    exports = [options for options in recipe.stages if isinstance(options, export.Options)]
    quantizes = [options for options in recipe.stages if isinstance(options, quantize.Options)]
    how = (exports[-1], quantizes[-1] if quantizes else quantize.Options(stage="quantize")) if exports else ()
    key = rundir.chain(key, recipe.bench.model_dump(mode="json"), *(each.model_dump(mode="json") for each in how))
    context = Context(files.original, key, recipe.seed, start.data, originals, metadata, label="original")
    facts = rundir.record_if_done(files.original, key)
    if facts is None:
        rundir.start(files.original, key)
        model = originals.model
        made: dict[str, FileRecord] = {}
        facts = {**record_of(model, recipe.bench), **_held_out(model, context), "files": made}
        if how:
            graph = export.run(model, how[0], context)
            both = (graph, quantize.run(graph, how[1], context))
            made |= {each.path.name: file_record(each, context) for each in both}
        rundir.finish(files.original, key, facts)
    for name, of_file in facts.get("files", {}).items():
        yield variant(f"original/{name}", "original", rundir.precision_of(of_file, name), facts, of_file)


def _folders(recipe: Recipe, files: RunDir) -> Iterator[tuple[Path, CardKind]]:
    """Folders that can be used by themselves, and so carry a model card."""
    for index, options in enumerate(recipe.stages):
        folder = files.stage(index, options.stage)
        yield (folder / "model", "model") if _gives(options) is Model else (folder, "onnx")


def _keep_only(folders: Sequence[Path], files: RunDir) -> None:
    """Remove the folders of other stages, which an earlier version of the recipe left here."""
    for folder in files.path.iterdir():
        if STAGE_FOLDER.fullmatch(folder.name) and (folder / rundir.KEY).exists() and folder not in folders:
            say(f"{folder.name:<24} from an earlier version of the recipe, removed")
            rundir.remove(folder)


def _sentence(verdict: Verdict) -> str:
    value = "unknown" if verdict["value"] is None else f"{verdict['value']:.4g}"
    what = f"limit {verdict['limit']:g} missed, got {value} ({verdict['note']})"
    return f"gates.{verdict['name']}: {what}; change the stages, or the limit"
