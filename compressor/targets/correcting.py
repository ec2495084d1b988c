"""Solve, build, measure beside the original, scale the target by predicted over measured, and solve again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log
from typing import Generic, TypeVar

from compressor.model import Model
from compressor.options import Target
from compressor.rundir import TargetRecord
from compressor.targets.costs import Ratios
from compressor.targets.rulers import Ruler

Choice = TypeVar("Choice")


@dataclass(frozen=True)
class Try(Generic[Choice]):
    """A choice, with what it should cost and what it costs."""

    choice: Choice
    predicted: Ratios
    measured: Ratios | None

    def excess(self, goals: Ratios) -> float:
        """Cost over the goal at the worst point: 1.05 is five percent too much."""
        found = self.measured or self.predicted
        return max(found[point] / goal for point, goal in goals.items())


def corrected(
    ruler: Ruler,
    goals: Ratios,
    propose: Callable[[Ratios], tuple[Choice, Ratios]],
    build: Callable[[Choice], Model],
) -> list[Try[Choice]]:
    """Try, and correct the goals, until what is measured is close to them; give the tries in order.

    Parameters
    ----------
    ruler : Ruler
        Measures what was built, and says how often goals are corrected.
    goals : mapping of float
        Largest ratio to the original at each point.
    propose : callable
        Makes a choice for goals, with what it should cost; a `ValueError` if they cannot be reached.
    build : callable
        Makes the network of a choice.

    Raises
    ------
    ValueError
        If the goals themselves cannot be reached.
    """
    asked = goals
    tries: list[Try[Choice]] = []
    for _ in range(1 + ruler.most_corrections):
        try:
            choice, predicted = propose(asked)
        except ValueError:
            if not tries:
                raise
            break  # the smallest choice is as close as it gets
        compared = ruler.compare([build(choice)])
        tries.append(Try(choice, predicted, None if compared is None else compared.ratios[0]))
        measured = tries[-1].measured
        if measured is None or abs(tries[-1].excess(goals) - 1) <= ruler.tolerance:
            break
        asked = {point: goal * predicted[point] / measured[point] for point, goal in goals.items()}
    return tries


def closest(tries: Sequence[Try[Choice]], goals: Ratios) -> Try[Choice]:
    """Give the try that is closest to the goals."""
    return min(tries, key=lambda each: abs(log(each.excess(goals))))


def record(target: Target, goals: Ratios, original_ms: Ratios, tries: Sequence[Try[Choice]]) -> TargetRecord:
    """Write down what was asked and reached."""
    best = closest(tries, goals)
    return {
        "target": target.model_dump(mode="json"),
        "wanted": goals,
        "predicted": best.predicted,
        "measured": best.measured,
        "tries": [{"predicted": each.predicted, "measured": each.measured} for each in tries],
        "original_ms": original_ms,
    }
