"""`compress prune`: the recipe that most people mean, without writing one; and what it would choose."""

from dataclasses import dataclass
from typing import Any, TypedDict

from compressor import surgery
from compressor.errors import RecipeError
from compressor.files import read_json
from compressor.model.checkpoint import task_of
from compressor.options import GOALS
from compressor.pipeline.shipping import shipping_of
from compressor.pipeline.start import begin, walk_dry
from compressor.recipe import Recipe, parse
from compressor.recipe.schema import STAGES
from compressor.rundir import TARGET, RunDir, TargetRecord
from compressor.temporary import temporary_folder
from compressor.training.context import Context
from compressor.training.remembered import AnswerFiles
from compressor.training.teacher import Originals

FAST = {"criterion": "fisher", "allocate": "score"}


class Width(TypedDict):
    """A width, and how many units it would keep."""

    name: str
    n_units_original: int
    n_units: int


class Preview(TypedDict):
    """What ``compress prune --dry-run --json`` prints."""

    recipe: dict[str, Any]
    target: TargetRecord
    widths: list[Width]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is pruned, to what.

    Raises
    ------
    RecipeError
        If the target is not one of the known ones.
    """

    checkpoint: str
    """Local folder or hub id."""
    dataset: str
    target: tuple[str, float]
    """Key and number of a recipe's ``target``."""
    task: str | None = None
    """By default that of the checkpoint's head."""
    is_fast: bool = False
    """Judge units by one backward pass instead of a table of losses."""
    settings: tuple[str, ...] = ()
    """Overrides of any of the recipe's keys."""

    def __post_init__(self) -> None:
        if self.target[0] not in GOALS:
            raise RecipeError(f"--target: no such target, got {self.target[0]!r}; choose from {', '.join(GOALS)}")

    def recipe(self) -> Recipe:
        """Write the recipe."""
        key, number = self.target
        pruning = {"stage": "prune", "target": {key: number}, **(FAST if self.is_fast else {})}
        content = {
            "model": {"checkpoint": self.checkpoint, "task": self.task or task_of(self.checkpoint)},
            "data": {"dataset": self.dataset},
            "stages": [pruning, {"stage": "shrink"}, {"stage": "export"}, {"stage": "quantize"}],
        }
        return parse(content, self.settings)


def preview(recipe: Recipe) -> Preview:
    """Choose the units as the run of such a recipe would, and leave nothing behind."""
    start = begin(recipe)
    recipe, model = start.recipe, start.model
    list(walk_dry(recipe, start))  # raises an error if a stage does not fit
    widths = surgery.cuttable(model.net, model.arch.widths(model.net))
    sizes = {width.name: width.size for width in widths}
    with temporary_folder() as home:
        run, options = RunDir(home.path), recipe.stages[0]
        folder = run.stage(0, options.stage)
        folder.mkdir()
        originals = Originals(model.copy(), model.copy, start.data, AnswerFiles(home.path, start.key))
        shipping = shipping_of(recipe, start.data, start.key, run)
        context = Context(folder, "", recipe.seed, start.data, originals, label=options.stage, shipping=shipping)
        STAGES[options.stage].run(model, options, context)
        record: TargetRecord = read_json(folder / TARGET)
    chosen = [
        Width(name=name, n_units_original=sizes[name], n_units=n_units) for name, n_units in record["widths"].items()
    ]
    return {"recipe": recipe.model_dump(mode="json"), "target": record, "widths": chosen}
