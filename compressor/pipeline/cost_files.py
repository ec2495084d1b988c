"""The files of a cost table, to be measured on another machine by `compress bench` or in a bundle."""

from pathlib import Path

from compressor.bench.result import PlanDocument
from compressor.errors import RecipeError
from compressor.model import Model
from compressor.pipeline.shipping import shipping_of
from compressor.pipeline.start import begin
from compressor.recipe import Recipe
from compressor.recipe.schema import STAGES, wiring
from compressor.surgery.widths import select_usual
from compressor.targets import rulers
from compressor.targets.timed import Timed
from compressor.training.context import Context
from compressor.training.remembered import AnswerFiles
from compressor.training.teacher import Originals


def plan(recipe: Recipe, folder: Path) -> PlanDocument:
    """Write the files of the table for a recipe's latency target into a folder, and plan how they are measured.

    Raises
    ------
    RecipeError
        If no stage of the recipe has a latency target, or its file is not exported.
    """
    start = begin(recipe)
    recipe, model = start.recipe, start.model.copy()
    originals = Originals(start.model, start.model.copy, start.data, AnswerFiles(folder, start.key))
    shipping = shipping_of(recipe, start.data, start.key)
    for index, options in enumerate(recipe.stages):
        context = Context(Path(options.stage), "", recipe.seed, start.data, originals, is_dry=True, shipping=shipping)
        target = options.aim()
        try:
            if target is not None and target.name.startswith("p50"):
                rulers.require_export(target, context)
                own = target.model_copy(update={"cost_table": None, "machine": None})
                ruler = rulers.ruler_of(own, model, context)
                assert isinstance(ruler, Timed)  # a latency is timed
                widths = select_usual(model.widths(), getattr(options, "widths", None))
                return ruler.plan(model, widths, dict.fromkeys((width.name for width in widths), 1), folder)
            if wiring(options.stage)[1] is Model:
                model = STAGES[options.stage].run(model, options, context)
        except ValueError as error:
            raise RecipeError(f"stages[{index}] ({options.stage}): {error}") from error
    raise RecipeError("stages: none has a latency target, so there are no costs to measure; give one a 'target'")
