"""Whether other programs had the processor while files were timed: then wall times cannot be compared.

Short inferences fit between two switches of the scheduler and long ones do not, so a median wall time grows by another
factor for each file. Processor time does not count the time during which another program has the core.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

from .result import Entry, Times

MOST = 1.15  # wall time over processor time of one thread that has a core to itself
N_TRIES = 2  # each takes the time that the plan gives a shape

Timed = TypeVar("Timed")


def is_shared(measured: Times | Entry, n_threads: int) -> bool | None:
    """Tell whether wall time and processor time part; None for several threads, which wait for each other."""
    parts = parting(measured)
    return None if n_threads > 1 or parts is None else parts > MOST


def parting(measured: Times | Entry) -> float | None:
    """Give wall time over processor time, of the mean or the median, whichever is longer; None where one is unknown.

    Examples
    --------
    >>> parting({"p50_ms": 3.8, "mean_ms": 4.0, "cpu_ms": 1.0})
    4.0
    """
    mean_ms, cpu_ms = measured.get("mean_ms"), measured.get("cpu_ms")
    return max(mean_ms, measured["p50_ms"]) / cpu_ms if mean_ms and cpu_ms else None


def undisturbed(
    measure: Callable[[], Timed], times: Callable[[Timed], Mapping[str, Times]], say: Callable[[str], None]
) -> Timed:
    """Measure files on one thread, and again where others share the core; give the try that they disturbed least.

    Parameters
    ----------
    measure : callable
        Times all files once.
    times : callable
        Sums up what `measure` gave, by file.
    say : callable
        Takes a line of progress.
    """

    def worst(timed: Timed) -> float:
        return max(parting(each) or 0.0 for each in times(timed).values())

    best = measure()
    for _ in range(N_TRIES - 1):
        if worst(best) <= MOST:
            break
        say(f"other programs share the core: wall time is {worst(best):.1f} times processor time; measuring again")
        best = min(best, measure(), key=worst)
    return best
