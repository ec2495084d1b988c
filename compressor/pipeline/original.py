"""The original's files: exported and quantized as the result will be, for a fair comparison."""

from collections.abc import Mapping

from compressor import rundir
from compressor.bench.result import PlannedVariant
from compressor.pipeline.record import at_bench, file_record, model_record, variant
from compressor.recipe import Recipe
from compressor.rundir import RunDir, StepRecord
from compressor.rundir import step as stepdir
from compressor.stages import export, quantize
from compressor.training.context import Context
from compressor.training.shipping import Shipping
from compressor.training.teacher import Originals


def original_variants(
    recipe: Recipe, home: RunDir, originals: Originals, key: str, metadata: Mapping[str, str], shipping: Shipping
) -> list[PlannedVariant]:
    """Write the original's files unless they exist, and return them as entries of the bench plan."""
    how = how_exported(recipe)
    key = rundir.chain(key, *(options.model_dump(mode="json") for options in how))
    record = stepdir.record_if_done(home.original, key, "original")
    if record is None:
        named = {**metadata, "key": key}
        context = Context(
            home.original, key, recipe.seed, originals.data, originals, named, label="original", shipping=shipping
        )
        record = _write(recipe, how, context, originals)
    record = at_bench(record, originals.model, recipe.bench, record)
    stepdir.replace_record(home.original, record)
    return [
        variant(f"original/{name}", "original", rundir.precision_of(file, name), record, file)
        for name, file in record["files"].items()
    ]


def how_exported(recipe: Recipe) -> tuple[export.Options, quantize.Options] | tuple[()]:
    """Return the last export and quantization of a recipe; an empty tuple if it exports nothing."""
    exports = [options for options in recipe.stages if isinstance(options, export.Options)]
    quantizes = [options for options in recipe.stages if isinstance(options, quantize.Options)]
    return (exports[-1], quantizes[-1] if quantizes else quantize.Options(stage="quantize")) if exports else ()


def _write(
    recipe: Recipe,
    how: tuple[export.Options, quantize.Options] | tuple[()],
    context: Context,
    originals: Originals,
) -> StepRecord:
    stepdir.start(context.folder, context.key)
    model = originals.model
    record = model_record(model, recipe.bench, context)
    record["files"] = {}
    if how:
        graph = export.run(model, how[0], context)
        both = (graph, quantize.run(graph, how[1], context))
        record["files"] = {file.path.name: file_record(file, context) for file in both}
    stepdir.finish(context.folder, context.key, record)
    return record
