"""What a target is measured by."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from compressor.model import Model
from compressor.options import Target
from compressor.surgery import Width
from compressor.targets.costs import Comparison, Costs, Ratios
from compressor.targets.counted import Counted
from compressor.targets.sized import Sized
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

    def goals(self, points: Iterable[str], original_ms: Ratios) -> Ratios:
        """Give the largest ratio at each point."""

    def costs(self, model: Model, widths: Sequence[Width], floors: Mapping[str, int]) -> Costs:
        """Find what each level of each width costs; no width gets fewer units than its floor."""

    def compare(self, models: Sequence[Model]) -> Comparison | None:
        """Compare networks with the original at each point; None if that cannot be done here."""


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
