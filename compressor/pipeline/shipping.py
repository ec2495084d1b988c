"""Tell stages with a target how the recipe writes its last file, and where it measures it."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from compressor.bench.result import PlanSettings, Precision
from compressor.data.batches import Data
from compressor.errors import RecipeError
from compressor.files import file_digest
from compressor.model import Model, OnnxGraph
from compressor.pipeline.original import how_exported
from compressor.pipeline.record import bench_settings
from compressor.recipe import Recipe
from compressor.rundir import RunDir, owned
from compressor.stages import export, quantize
from compressor.training.context import Context
from compressor.training.options import StageOptions
from compressor.training.shipping import Shipped, Shipping


def shipping_of(recipe: Recipe, data: Data, key: str, home: RunDir | None = None) -> Shipping:
    """Describe the end of a recipe; ``key`` is that of the run's start. Without a run directory nothing is kept."""
    how = how_exported(recipe)
    quantizing = how[1] if how and _is_quantized(recipe) else None
    if quantizing is not None and quantizing.mode == "auto" and any(each.aim() for each in recipe.stages):
        raise RecipeError("target: the mode of quantize must be known before; name one in place of auto")
    context = Context(Path(), key, recipe.seed, data, originals=None, label="costs")
    shipping = Shipping(
        _points(recipe),
        partial(_write, how[0], quantizing, context) if how else None,
        _precision(quantizing),
        _settings(recipe),
    )
    if home is None:
        return shipping
    name = "model-int8.onnx" if quantizing else "model.onnx"
    return replace(shipping, original=home.original / name, table=home.path / owned.COSTS)


def key_parts(options: StageOptions, recipe: Recipe) -> list[object]:
    """List what the key of a stage with a target depends on besides its options; nothing for others."""
    target = options.aim()
    if target is None:
        return []
    table = Path(target.cost_table) if target.cost_table else None
    return [_points(recipe), _settings(recipe), file_digest(table) if table and table.is_file() else None]


def _precision(quantizing: quantize.Options | None) -> Precision:
    if quantizing is None:
        return "fp32"
    return "int8" if quantizing.mode == "auto" else quantize.precision_of(quantizing)  # of auto nothing is asked


def _points(recipe: Recipe) -> PlanSettings:
    """Where files are measured; with which meter does not matter to their times."""
    settings = bench_settings(recipe.bench)
    del settings["meter"]
    return settings


def _settings(recipe: Recipe) -> list[object]:
    how = how_exported(recipe)
    return [options.model_dump(mode="json") for options in how[: 1 + _is_quantized(recipe)]]


def _precision(quantizing: quantize.Options | None) -> Precision:
    if quantizing is None:
        return "fp32"
    return "int4" if quantizing.mode == "weights" and quantizing.bits == 4 else "int8"


def _is_quantized(recipe: Recipe) -> bool:
    return any(isinstance(options, quantize.Options) for options in recipe.stages)


def _write(
    exporting: export.Options, quantizing: quantize.Options | None, context: Context, model: Model, folder: Path
) -> Shipped:
    """Write the files of a network as the recipe does."""
    own = replace(context, folder=folder)
    if quantizing is not None:
        quantizing = quantizing.model_copy(update={"max_accuracy_drop": None})  # only the last file has a limit
    exported: OnnxGraph = export.run(model, exporting, own)
    last = exported if quantizing is None else quantize.run(exported, quantizing, own)
    return Shipped(exported, last)
