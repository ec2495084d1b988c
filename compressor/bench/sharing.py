"""Whether other programs used the processor while files were timed; if so, wall times cannot be compared.

Short inferences fit between two switches of the scheduler and long ones do not, so the median wall time of each file
grows by a different factor. Processor time leaves out the time during which another program runs.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

from .result import Entry, Times

MOST = 1.15  # largest wall time over processor time for a thread with a core to itself
N_TRIES = 2  # each takes the time that the plan allows for a shape

Timed = TypeVar("Timed")


def is_shared(measured: Times | Entry, n_threads: int) -> bool | None:
    """Tell whether wall time is too far above processor time; None for several threads, which wait for each other."""
    ratio = wall_over_cpu(measured)
    return None if n_threads > 1 or ratio is None else ratio > MOST


def wall_over_cpu(measured: Times | Entry) -> float | None:
    """Return wall time over processor time, by the larger of mean and median; None if one of them is unknown.

    Examples
    --------
    >>> wall_over_cpu({"p50_ms": 3.8, "mean_ms": 4.0, "cpu_ms": 1.0})
    4.0
    """
    mean_ms, cpu_ms = measured.get("mean_ms"), measured.get("cpu_ms")
    return max(mean_ms, measured["p50_ms"]) / cpu_ms if mean_ms and cpu_ms else None


def undisturbed(
    measure: Callable[[], Timed], times: Callable[[Timed], Mapping[str, Times]], say: Callable[[str], None]
) -> Timed:
    """Time files on one thread, and again if other programs share the core; return the least disturbed try.

    Parameters
    ----------
    measure : callable
        Times all files once.
    times : callable
        Summarizes what `measure` returned, by file.
    say : callable
        Prints a line of progress.
    """

    def worst(timed: Timed) -> float:
        return max(wall_over_cpu(each) or 0.0 for each in times(timed).values())

    best = measure()
    for _ in range(N_TRIES - 1):
        if worst(best) <= MOST:
            break
        say(f"other programs share the core: wall time is {worst(best):.1f} times processor time; measuring again")
        best = min(best, measure(), key=worst)
    return best
