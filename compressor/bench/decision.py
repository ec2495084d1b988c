"""Whether one file is slower than another: intervals over blocks, looked at until the answer is clear."""

import math
import statistics
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from .student_t import quantile

ALPHA = 0.01  # chance of a false alarm in a whole gate, over all its shapes and looks
LOOKS_S = (10.0, 30.0, 60.0)
MIN_BLOCKS = 8  # before the first look, even beyond the budget: of fewer, all may lie on one side by chance
VERDICTS = ("improved", "pass", "inconclusive", "regression")  # from best to worst

Shape = TypeVar("Shape", bound=Hashable)


class Block(NamedTuple):
    """What one fresh pair of sessions says at one shape."""

    log_ratio: float
    """Median over its pairs of log(new / baseline)."""
    new_s: float
    baseline_s: float


@dataclass(frozen=True)
class Interval:
    """Time of the new file over that of the baseline, minus one: 0.05 is five percent more."""

    ratio: float
    low: float
    high: float


@dataclass(frozen=True)
class Decision:
    """Where the measuring of one shape ended."""

    verdict: str
    interval: Interval
    blocks: tuple[Block, ...]


def decide(
    measure: Callable[[Sequence[Shape]], Mapping[Shape, Block]],
    shapes: Sequence[Shape],
    margin: float,
    budget_s: float,
    clock: Callable[[], float],
) -> dict[Shape, Decision]:
    """Measure block after block until every shape is decided, one has regressed, or the budget is spent.

    The bounds are tested at ``ALPHA`` divided by the number of shapes times looks, so that the
    whole gate gives a false alarm with a chance of at most ``ALPHA``, whatever it measured.

    Parameters
    ----------
    measure : callable
        Opens a fresh pair of sessions and gives a block for each shape that it is asked for.
    shapes : sequence
        What is decided, each by itself; all of them share the budget.
    margin : float, >= 0
        Slowdown that is still a pass, as a fraction.
    budget_s : float, > 0
        Seconds until the last look; ``MIN_BLOCKS`` blocks are taken even beyond it.
    clock : callable
        Seconds, monotonic.

    Returns
    -------
    dict from shape to Decision
        A shape may be inconclusive because another one has regressed and ended the measuring.
    """
    times = looks(budget_s)
    alpha = ALPHA / (len(shapes) * len(times))
    blocks: dict[Shape, list[Block]] = {shape: [] for shape in shapes}
    decisions: dict[Shape, Decision] = {}
    undecided, began = list(shapes), clock()
    for time_s in times:
        while clock() - began < time_s or len(blocks[undecided[0]]) < MIN_BLOCKS:
            for shape, block in measure(undecided).items():
                blocks[shape].append(block)
        decisions |= {shape: decision(blocks[shape], margin, alpha) for shape in undecided}
        undecided = [shape for shape in undecided if decisions[shape].verdict == "inconclusive"]
        if not undecided or worst(decision_.verdict for decision_ in decisions.values()) == "regression":
            break
    return decisions


def looks(budget_s: float) -> list[float]:
    """Give the seconds after which the blocks are looked at; the last look spends the budget."""
    return [time_s for time_s in LOOKS_S if time_s < budget_s] + [budget_s]


def decision(blocks: Sequence[Block], margin: float, alpha: float) -> Decision:
    """Judge the blocks of one shape by the margin; each bound is wrong with a chance of ``alpha``."""
    estimate = interval([block.log_ratio for block in blocks], alpha)
    return Decision(verdict(estimate, margin), estimate, tuple(blocks))


def interval(log_ratios: Sequence[float], alpha: float) -> Interval:
    """Bound the mean of at least two blocks from below and from above by Student's t, each side at ``alpha``."""
    mean = statistics.fmean(log_ratios)
    n_blocks = len(log_ratios)
    half = quantile(1 - alpha, n_blocks - 1) * statistics.stdev(log_ratios) / math.sqrt(n_blocks)
    return Interval(math.expm1(mean), math.expm1(mean - half), math.expm1(mean + half))


def verdict(estimate: Interval, margin: float) -> str:
    """Say which side of the margin the whole interval is on, if it is on one."""
    if estimate.low > margin:
        return "regression"
    if estimate.high < margin:
        return "improved" if estimate.high < 0 else "pass"
    return "inconclusive"


def worst(verdicts: Iterable[str]) -> str:
    """Give the verdict that decides over several."""
    return max(verdicts, key=VERDICTS.index)
