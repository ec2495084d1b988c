"""The two kinds of sensors: counters of joules, and watts that are read again and again."""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from . import sysfs
from .clock import Clock
from .errors import InputError

POLL_S = 0.05  # often enough for windows of 10 s; more would load the machine that is measured
TOTAL = re.compile(r".*_IN|VIN|.*system.*", re.IGNORECASE)


class CounterMeter:
    """Cumulative counters of microjoules, added up; each starts again from zero at the end of its range.

    Parameters
    ----------
    name, scope : str
        The meter's word, and what its joules cover.
    update_s : float, seconds
        Time between two updates of the counters.
    ranges_uj : mapping from file to int
        Counters, and the value at which each wraps around.
    """

    averages = True

    def __init__(self, name: str, scope: str, update_s: float, ranges_uj: Mapping[Path, int]) -> None:
        self.name, self.scope, self.update_s = name, scope, update_s
        self._ranges_uj = ranges_uj
        self._last_uj: dict[Path, int] = {}
        self._total_uj = 0

    def __enter__(self) -> "CounterMeter":
        """Read every counter once; one that is missing or forbidden is found here."""
        self._last_uj, self._total_uj = self._read(), 0
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing stays open between two readings."""

    def joules(self) -> float:
        """Energy since `__enter__`."""
        now_uj = self._read()
        self._total_uj += sum(self._since_last_uj(path, count_uj) for path, count_uj in now_uj.items())
        self._last_uj = now_uj
        return self._total_uj * 1e-6

    def _read(self) -> dict[Path, int]:
        return {path: sysfs.number(path, self.name) for path in self._ranges_uj}

    def _since_last_uj(self, path: Path, count_uj: int) -> int:
        """Count on around the end of the range; a counter that was reset would seem to gain nearly all of it."""
        range_uj, last_uj = self._ranges_uj[path], self._last_uj[path]
        if count_uj >= last_uj:
            return count_uj - last_uj
        gained_uj = count_uj - last_uj + range_uj
        if not 0 <= gained_uj <= range_uj // 2:
            raise InputError(f"meter {self.name!r}: {path} went back from {last_uj} to {count_uj}; was it reset?")
        return gained_uj


class PowerMeter:
    """A sensor of watts, read at jittered times in the background and integrated by trapezoids.

    Parameters
    ----------
    name, scope : str
        The meter's word, and what its joules cover.
    update_s : float, seconds
        How often to read.
    averages : bool
        Whether a reading covers the time since the one before; if not, it is an instant, and a load
        that comes and goes can hide between two of them.
    watts : callable
        Reads the sensor; raises `InputError` if it cannot.
    clock : Clock
        Dates the readings and repeats them.
    """

    def __init__(
        self, name: str, scope: str, update_s: float, averages: bool, watts: Callable[[], float], clock: Clock
    ) -> None:
        self.name, self.scope, self.averages = name, scope, averages
        self._asked_s, self._watts, self._clock = update_s, watts, clock
        self._background, self._lock = ExitStack(), Lock()
        self._failure: InputError | None = None
        self._total_j = self._last_w = self._start_s = self._last_s = 0.0
        self._n_trapezoids = 0

    @property
    def update_s(self) -> float:
        """Mean time between two readings: longer than asked for where a reading itself takes long."""
        return max(self._asked_s, (self._last_s - self._start_s) / max(1, self._n_trapezoids))

    def __enter__(self) -> "PowerMeter":
        """Read once, then start to read in the background."""
        self._total_j, self._n_trapezoids, self._failure = 0.0, 0, None
        self._last_w = self._watts()
        self._start_s = self._last_s = self._clock.now()
        self._background.enter_context(self._clock.repeat(self._poll, self._asked_s))
        return self

    def __exit__(self, *_: object) -> None:
        """Stop reading."""
        self._background.close()

    def joules(self) -> float:
        """Energy since `__enter__`; what failed in the background is raised here."""
        if self._failure:
            raise self._failure
        self._read()
        return self._total_j

    def _poll(self) -> None:
        try:
            self._read()
        except InputError as error:
            self._failure = error

    def _read(self) -> None:
        """Add the trapezoid since the last reading, dated in the middle of the time that this one takes."""
        with self._lock:
            before_s, now_w = self._clock.now(), self._watts()
            now_s = (before_s + self._clock.now()) / 2
            self._total_j += (self._last_w + now_w) / 2 * (now_s - self._last_s)
            self._last_s, self._last_w = now_s, now_w
            self._n_trapezoids += 1


@dataclass(frozen=True)
class Rail:
    """One supply line of a board, by the label that its sensor carries."""

    label: str
    watts: Callable[[], float]


def rails_meter(name: str, rails: Sequence[Rail], update_s: float, clock: Clock) -> PowerMeter:
    """Meter the board's input where a label names it, else the sum of all rails: inputs feed the others."""
    inputs = [rail for rail in rails if TOTAL.fullmatch(rail.label)]
    counted = inputs or rails
    labels = " + ".join(rail.label for rail in counted)
    return PowerMeter(
        name=name,
        scope=f"board input {labels}" if inputs else f"rails {labels}",
        update_s=max(update_s, POLL_S),
        averages=update_s >= POLL_S,  # a chip that is faster than we read shows its last instant only
        watts=lambda: sum(rail.watts() for rail in counted),
        clock=clock,
    )
