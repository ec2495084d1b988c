"""Targets that are counted, not measured: FLOPs and parameters."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from compressor import surgery
from compressor.bench.shape import Shape
from compressor.model import Model
from compressor.model.outputs import n_flops
from compressor.surgery import Width
from compressor.targets.costs import Comparison, Costs, Ratios, curve
from compressor.targets.cutting import cut_copy

PARAMETERS = "parameters"  # the only point of a target on their number


@dataclass(frozen=True)
class Counted:
    """FLOPs at each shape of the bench, or parameters, over those of the original."""

    shapes: Sequence[Shape]
    """For FLOPs; none for parameters."""
    goal: float
    original: Model
    most_corrections: int = 12
    """Counting takes moments, and where widths share weights their savings do not add up."""
    tolerance: float = 0.005

    def goals(self, points: Iterable[str], original_ms: Ratios) -> Ratios:
        """Give the largest ratio at each point."""
        return dict.fromkeys(points, self.goal)

    def compare(self, models: Sequence[Model]) -> Comparison:
        """Count exactly."""
        before = self._counts(self.original)
        counts = map(self._counts, models)
        return Comparison([{point: n / before[point] for point, n in after.items()} for after in counts])

    def costs(self, model: Model, widths: Sequence[Width], floors: Mapping[str, int]) -> Costs:
        """Count what each width saves, the others being whole: both counts are linear in its units then."""
        before, whole = self._counts(self.original), self._counts(model)
        smaller = {width.name: self._counts(cut_copy(model, {width.name: 1}, empty_on="meta")) for width in widths}
        return Costs(
            {point: n / before[point] for point, n in whole.items()},
            {
                point: {
                    width.name: curve(width.size, {1: (n - smaller[width.name][point]) / before[point]})
                    for width in widths
                }
                for point, n in whole.items()
            },
        )

    def _counts(self, model: Model) -> dict[str, int]:
        if not self.shapes:
            return {PARAMETERS: surgery.n_params(model.net)}
        sizes = dict.fromkeys(shape.size for shape in self.shapes)
        return {shape.name: n_flops(model, shape.batch_size, shape.length or 0) for shape in sizes}
