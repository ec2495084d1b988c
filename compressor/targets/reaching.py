"""A target for widths: the units that each keeps."""

from collections.abc import Sequence

from compressor.errors import RecipeError
from compressor.files import read_sealed, write_sealed
from compressor.model import Model
from compressor.options import Target
from compressor.progress import say
from compressor.report import targets
from compressor.rundir import TARGET, TargetRecord
from compressor.surgery import Width
from compressor.targets import correcting
from compressor.targets.costs import Ratios
from compressor.targets.counted import Counted
from compressor.targets.cutting import cut_copy
from compressor.targets.rulers import Ruler, require_export, ruler_of
from compressor.targets.solving import Damages, least_damage
from compressor.targets.timed import Timed
from compressor.training.context import Context


def units_for(
    model: Model,
    widths: Sequence[Width],
    damages: Damages,
    target: Target,
    context: Context,
) -> dict[str, int]:
    """Choose how many units each width keeps, so that the network meets a target with the least damage.

    What is asked and reached is written into the folder of the stage; a resumed stage reads it from there.

    Parameters
    ----------
    model : Model
        The network before the stage.
    widths : sequence of Width
        The widths that the stage cuts.
    damages : mapping of mapping of float
        By the name of a width and the number of units left, how much the network suffers; each width has at least its
        own size among these numbers, and the least of them is its floor.
    target : Target
        What is asked.
    context : Context
        Of the stage. In a dry run nothing is measured: FLOPs stand for times and bytes.

    Returns
    -------
    dict from name to int
        Units of each width.

    Raises
    ------
    ValueError
        In a dry run, if the target cannot be reached, or the recipe exports no file that it could be about.
    RecipeError
        If measuring shows that it cannot be reached.
    """
    require_export(target, context)
    if context.is_dry:
        return _dry(model, widths, damages, target, context)
    if (kept := kept_units(context)) is not None:
        return kept
    try:
        record = _reached(model, widths, damages, target, ruler_of(target, model, context))
    except ValueError as error:
        raise RecipeError(f"{context.folder.name}: target: {target.name} {error}; raise it") from error
    write_sealed(context.folder / TARGET, record)
    say(f"{context.label:<24} {targets.line(record)}")
    return record["widths"]


def kept_units(context: Context) -> dict[str, int] | None:
    """Read what a resumed stage, or an earlier round, has chosen already."""
    kept = read_sealed(context.folder / TARGET)
    return None if kept is None else kept["widths"]


def _dry(model: Model, widths: Sequence[Width], damages: Damages, target: Target, context: Context) -> dict[str, int]:
    """Solve without measuring; only counts, and a table that was made elsewhere, can refuse a target."""
    ruler = ruler_of(target, model, context)
    floors = {name: min(own) for name, own in damages.items()}
    if isinstance(ruler, Counted) or (isinstance(ruler, Timed) and ruler.cost_table is not None):
        costs = ruler.costs(model, widths, floors)
        try:
            return least_damage(damages, costs, ruler.goals(costs.whole, costs.original_ms))
        except ValueError as error:
            raise ValueError(f"target: {target.name} {error}; raise it") from error
    assert context.shipping is not None
    shapes = list(context.shipping.shapes(model.task.inputs.HAS_LENGTH))
    ratio = target.p50_ratio or target.size_ratio
    if ratio is None:  # milliseconds of a machine say nothing yet
        return {width.name: width.size for width in widths}
    counted = Counted(shapes, ratio, ruler.original)
    costs = counted.costs(model, widths, floors)
    try:
        return least_damage(damages, costs, counted.goals(costs.whole, {}))
    except ValueError:  # as little as there can be; FLOPs do not say that it is too slow
        return floors


def _reached(model: Model, widths: Sequence[Width], damages: Damages, target: Target, ruler: Ruler) -> TargetRecord:
    """Find the costs, and choose and correct until what is measured is close to the target."""
    costs = ruler.costs(model, widths, {name: min(own) for name, own in damages.items()})
    goals = ruler.goals(costs.whole, costs.original_ms)

    def propose(asked: Ratios) -> tuple[dict[str, int], Ratios]:
        counts = least_damage(damages, costs, asked)
        return counts, costs.predicted(counts)

    tries = correcting.corrected(ruler, goals, propose, lambda counts: cut_copy(model, counts))
    units = correcting.closest(tries, goals).choice
    return {**correcting.record(target, goals, costs.original_ms, tries), "widths": units}
