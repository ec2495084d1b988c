"""What each level of each width costs, in shares of what the original takes at each point."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

Ratios = dict[str, float]
"""Of each point, by its name: a number over that of the original."""
Counts = Mapping[str, int]
"""Units by the name of a width."""


@dataclass(frozen=True)
class Comparison:
    """Networks beside the original."""

    ratios: list[Ratios]
    """Of each network."""
    original_ms: Ratios = field(default_factory=dict)
    """Of a latency: what the original takes at each point."""


@dataclass(frozen=True)
class Curve:
    """How much less a network takes when one width has fewer units; linear in between and beyond."""

    n_units: tuple[int, ...]
    """Falling, from the size of the width; at least two."""
    saved: tuple[float, ...]

    def at(self, n_units: int) -> float:
        """Interpolate; below the last level the last line goes on."""
        index = min(max(sum(each > n_units for each in self.n_units), 1), len(self.n_units) - 1)
        (n_0, n_1), (y_0, y_1) = self.n_units[index - 1 : index + 1], self.saved[index - 1 : index + 1]
        return y_0 + (y_1 - y_0) * (n_units - n_0) / (n_1 - n_0)


@dataclass(frozen=True)
class Costs:
    """A network's costs: those of the whole, less what each width saves by itself."""

    whole: Ratios
    curves: Mapping[str, Mapping[str, Curve]]
    """By point and by the name of a width."""
    original_ms: Ratios = field(default_factory=dict)
    """Of a latency: what the original takes at each point."""

    def predicted(self, counts: Counts) -> Ratios:
        """Add up what a network with so many units costs at each point."""
        return {
            point: whole - sum(self.curves[point][name].at(n_units) for name, n_units in counts.items())
            for point, whole in self.whole.items()
        }

    def of_levels(self, point: str, name: str, levels: Sequence[int]) -> list[float]:
        """Give the cost of each level of a width, relative to its full size."""
        return [-self.curves[point][name].at(n_units) for n_units in levels]


def curve(size: int, saved: Mapping[int, float]) -> Curve:
    """Make a curve of what was saved at some numbers of units; noise does not let a smaller width cost more."""
    n_units = [size, *sorted((each for each in saved if each < size), reverse=True)]
    if len(n_units) == 1:  # a width of one unit, which stays
        return Curve((size, size - 1), (0.0, 0.0))
    rising = np.maximum.accumulate([0.0, *(saved[each] for each in n_units[1:])])
    return Curve(tuple(n_units), tuple(map(float, rising)))
