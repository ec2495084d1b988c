"""Reach a target: solve, build, measure beside the original, scale the target by predicted over measured, and again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import Protocol

from compressor.errors import RecipeError
from compressor.files import read_sealed, write_sealed
from compressor.model import Model
from compressor.options import Target
from compressor.progress import say
from compressor.report import targets
from compressor.rundir import TARGET, TargetRecord
from compressor.surgery import Width
from compressor.targets.costs import Costs, Ratios
from compressor.targets.counted import Counted
from compressor.targets.cutting import cut_copy
from compressor.targets.sized import Sized
from compressor.targets.solving import Damages, least_damage
from compressor.targets.timed import Timed
from compressor.training.context import Context


class Ruler(Protocol):
    """What a target is measured by."""

    @property
    def original(self) -> Model:
        """The network that others are compared with."""

    @property
    def most_corrections(self) -> int:
        """How often the target is scaled and solved again, at most."""

    @property
    def tolerance(self) -> float:
        """How far a measured number may be off without another correction, as a fraction of its goal."""

    def goals(self, costs: Costs) -> Ratios:
        """Give the largest ratio at each point."""

    def costs(self, model: Model, widths: Sequence[Width], floors: Mapping[str, int]) -> Costs:
        """Find what each level of each width costs; no width gets fewer units than its floor."""

    def measure(self, model: Model) -> Ratios | None:
        """Compare a network with the original at each point; None if that cannot be done here."""


@dataclass(frozen=True)
class Try:
    """A choice of units, with what it should cost and what it costs."""

    counts: dict[str, int]
    predicted: Ratios
    measured: Ratios | None

    def excess(self, goals: Ratios) -> float:
        """How far it is above its goals at the worst point: 1.05 is five percent."""
        found = self.measured or self.predicted
        return max(found[point] / goal for point, goal in goals.items())


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
    file = context.folder / TARGET
    if (kept := read_sealed(file)) is not None:
        units: dict[str, int] = kept["widths"]
        return units
    try:
        record = _reached(model, widths, damages, target, ruler_of(target, model, context))
    except ValueError as error:
        raise RecipeError(f"{context.folder.name}: target: {target.name} {error}; raise it") from error
    write_sealed(file, record)
    say(f"{context.label:<24} {targets.line(record)}")
    return record["widths"]


def require_export(target: Target, context: Context) -> None:
    """Refuse a target on a file that the recipe does not write."""
    is_of_file = target.n_flops_ratio is None and target.n_params_ratio is None
    if is_of_file and (context.shipping is None or context.shipping.write is None):
        raise ValueError(f"target: {target.name} is about an exported file, and no stage exports; add an export stage")


def ruler_of(target: Target, model: Model, context: Context) -> Ruler:
    """Choose what a target is measured by."""
    original = model if context.originals is None else context.originals.model
    if target.n_params_ratio is not None:
        return Counted((), target.n_params_ratio, original)
    assert context.shipping is not None  # every run has one; tests of other targets may not
    if target.size_ratio is not None:
        return Sized(target.size_ratio, original, context.shipping)
    shapes = list(context.shipping.shapes(model.task.inputs.HAS_LENGTH))
    if target.n_flops_ratio is not None:
        return Counted(shapes, target.n_flops_ratio, original)
    file = None if target.cost_table is None else Path(target.cost_table)
    return Timed(shapes, target.p50_ratio, target.p50_ms, original, context.shipping, file, target.machine)


def _dry(model: Model, widths: Sequence[Width], damages: Damages, target: Target, context: Context) -> dict[str, int]:
    """Solve without measuring; only counts, and a table that was made elsewhere, can refuse a target."""
    ruler = ruler_of(target, model, context)
    floors = {name: min(own) for name, own in damages.items()}
    if isinstance(ruler, Counted) or (isinstance(ruler, Timed) and ruler.cost_table is not None):
        costs = ruler.costs(model, widths, floors)
        try:
            return least_damage(damages, costs, ruler.goals(costs))
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
        return least_damage(damages, costs, counted.goals(costs))
    except ValueError:  # as little as there can be; FLOPs do not say that it is too slow
        return floors


def _reached(model: Model, widths: Sequence[Width], damages: Damages, target: Target, ruler: Ruler) -> TargetRecord:
    """Try, and correct the target, until what is measured is close to it."""
    costs = ruler.costs(model, widths, {name: min(own) for name, own in damages.items()})
    goals = ruler.goals(costs)
    scales = dict.fromkeys(goals, 1.0)
    tries: list[Try] = []
    for _ in range(1 + ruler.most_corrections):
        try:
            counts = least_damage(damages, costs, {point: goal * scales[point] for point, goal in goals.items()})
        except ValueError:
            if not tries:
                raise
            break  # the smallest levels are as close as it gets
        predicted = costs.predicted(counts)
        made = Try(counts, predicted, ruler.measure(cut_copy(model, counts)))
        tries.append(made)
        if made.measured is None or abs(made.excess(goals) - 1) <= ruler.tolerance:
            break
        scales = {point: predicted[point] / made.measured[point] for point in goals}
    best = min(tries, key=lambda each: abs(log(each.excess(goals))))
    return {
        "target": target.model_dump(mode="json"),
        "wanted": goals,
        "predicted": best.predicted,
        "measured": best.measured,
        "tries": [{"predicted": each.predicted, "measured": each.measured} for each in tries],
        "original_ms": costs.original_ms,
        "widths": best.counts,
    }
