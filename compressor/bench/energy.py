"""From a meter's joules to J/inference: which meter, idle power, net energy and its interval."""

import importlib
import math
import pkgutil
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, Self

from . import meters
from .errors import InputError, PlanError

IDLE_SECONDS = 10.0
MIN_WINDOWS = 5
MIN_UPDATES = 100  # a window spans at least as many updates of the sensor


class Meter(Protocol):
    """A sensor; `meters` has one file for each family, with a class of this name and shape."""

    update_s: float
    scope: str

    def __enter__(self) -> Self:
        """Open the sensor and start counting."""

    def __exit__(self, *_: object) -> None:
        """Close the sensor."""

    def joules(self) -> float:
        """Energy since `__enter__`; never decreases."""


@dataclass(frozen=True)
class Window:
    """A block of back-to-back inferences, as the meter saw it."""

    n_runs: int
    seconds: float
    joules: float


Account = Callable[[Sequence[Window]], dict[str, Any]]


def discover() -> dict[str, ModuleType]:
    """Import every meter file, by the name that plans and recipes use."""
    names = sorted(info.name for info in pkgutil.iter_modules(meters.__path__))
    return {name: importlib.import_module(f"{meters.__name__}.{name}") for name in names}


def choose(word: str, root: Path = Path("/")) -> tuple[str | None, str]:
    """Find the meter that `auto`, `none` or a name means, and why there is none otherwise.

    A meter asked for by name must work; `auto` takes the first that does.
    """
    if word == "none":
        return None, "the recipe asks for no meter"
    known = discover()
    if word != "auto":
        if word not in known:
            raise PlanError(f"meter: no meter {word!r}; choose from auto, none, {', '.join(known)}")
        with known[word].Meter(root):
            return word, ""
    reasons = []
    for name in (name for name, module in known.items() if module.Meter.available(root)):
        try:
            with known[name].Meter(root):
                return name, ""
        except InputError as error:
            reasons.append(str(error))
    return None, "; ".join(reasons) or f"none of the meters ({', '.join(known)}) is on this machine"


@contextmanager
def opened(word: str, root: Path, say: Callable[[str], None]) -> Iterator[tuple[Meter | None, Account]]:
    """Open the meter, take the idle power, and tell how windows become the `energy` of a result."""
    name, reason = choose(word, root)
    with discover()[name].Meter(root) if name else nullcontext() as meter:
        idle_w = idle_power_w(meter, IDLE_SECONDS) if meter else 0.0
        if meter and idle_w <= 0:
            meter, reason = None, f"meter {name!r}: its counters stood still for {IDLE_SECONDS:g} s"
            if word != "auto":
                raise InputError(reason)
        if meter:
            say(f"energy: {name}, {meter.scope}, idle {idle_w:.2f} W")
            yield meter, partial(measured, idle_w=idle_w, meter=str(name), scope=meter.scope)
        else:
            say(f"energy: unavailable, {reason}")
            yield None, lambda _: unavailable(reason)


def idle_power_w(
    meter: Meter,
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> float:
    """Mean power of the machine while this program waits."""
    start, before = clock(), meter.joules()
    sleep(seconds)
    return (meter.joules() - before) / (clock() - start)


def unavailable(reason: str) -> dict[str, Any]:
    """Say that no joule was measured, and why."""
    return {"kind": "unavailable", "net_j": None, "gross_j": None, "low": None, "high": None, "reason": reason}


def measured(windows: Sequence[Window], idle_w: float, meter: str, scope: str) -> dict[str, Any]:
    """Energy of one inference above idle, with a 95 % interval over the windows.

    Parameters
    ----------
    windows : sequence of Window, at least `MIN_WINDOWS` of them
        Blocks of one file at one shape, taken in turn with those of the other files.
    idle_w : float, watts
        Power without work. Its own error shifts every file alike and is not in the interval.
    meter, scope : str
        Which sensor, and what its joules cover.

    Returns
    -------
    dict
        ``net_j`` = (gross - idle power x time) / inferences; ``low`` and ``high`` bound it.

    Raises
    ------
    ValueError
        If there are fewer than `MIN_WINDOWS` windows.
    """
    if len(windows) < MIN_WINDOWS:
        raise ValueError(f"an interval needs {MIN_WINDOWS} windows, got {len(windows)}")
    n_runs, seconds = sum(w.n_runs for w in windows), sum(w.seconds for w in windows)
    gross = sum(w.joules for w in windows)
    net = (gross - idle_w * seconds) / n_runs
    nets = [(w.joules - idle_w * w.seconds) / w.n_runs for w in windows]
    half = student_t(len(windows) - 1) * statistics.stdev(nets) / math.sqrt(len(windows))
    return {
        "kind": "measured",
        "net_j": net,
        "gross_j": gross / n_runs,
        "low": net - half,
        "high": net + half,
        "idle_w": idle_w,
        "n_windows": len(windows),
        "meter": meter,
        "scope": scope,
    }


def student_t(n_free: int, probability: float = 0.975) -> float:
    """Quantile of Student's t, within 0.3 % from 4 degrees of freedom on (Cornish-Fisher; no scipy on a board)."""
    z = statistics.NormalDist().inv_cdf(probability)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / n_free + second / n_free**2 + third / n_free**3
