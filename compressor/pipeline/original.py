"""The original's files: exported and quantized as the result will be, for a fair comparison."""

from collections.abc import Mapping

from compressor import rundir
from compressor.pipeline.record import Facts, facts_of, measured, variant
from compressor.recipe import Recipe
from compressor.rundir import RunDir
from compressor.stages import export, quantize
from compressor.training.context import Context
from compressor.training.teacher import Originals


def original_variants(
    recipe: Recipe, home: RunDir, originals: Originals, key: str, metadata: Mapping[str, str]
) -> list[Facts]:
    """Write the original's files unless they exist, and return them as entries of the bench plan."""
    how = _how(recipe)
    key = rundir.chain(key, recipe.bench.model_dump(mode="json"), *(options.model_dump(mode="json") for options in how))
    facts = rundir.facts_if_done(home.original, key)
    if facts is None:
        context = Context(home.original, key, recipe.seed, originals.data, originals, metadata, label="original")
        facts = _write(recipe, how, context, originals)
    return [
        variant(f"original/{name}", "original", name == "model-int8.onnx", {**facts, **of_file})
        for name, of_file in facts["files"].items()
    ]


def _how(recipe: Recipe) -> tuple[export.Options, quantize.Options] | tuple[()]:
    """Return the last export and quantization of a recipe; an empty tuple if it exports nothing."""
    exports = [options for options in recipe.stages if isinstance(options, export.Options)]
    quantizes = [options for options in recipe.stages if isinstance(options, quantize.Options)]
    return (exports[-1], quantizes[-1] if quantizes else quantize.Options(stage="quantize")) if exports else ()


def _write(
    recipe: Recipe,
    how: tuple[export.Options, quantize.Options] | tuple[()],
    context: Context,
    originals: Originals,
) -> Facts:
    rundir.start(context.folder, context.key)
    model = originals.model
    facts = {**facts_of(model, recipe.bench), **context.trainer.evaluate(model), "files": {}}
    if how:
        graph = export.run(model, how[0], context)
        both = (graph, quantize.run(graph, how[1], context))
        facts["files"] = {file.path.name: measured(file, context) for file in both}
    rundir.finish(context.folder, context.key, facts)
    return facts
