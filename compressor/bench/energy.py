"""From a meter's joules to J/inference: which meter, idle power, net energy and its interval."""

import importlib
import math
import pkgutil
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from . import meters
from .errors import InputError, PlanError
from .meters import Meter, MeterFile
from .result import Energy
from .student_t import quantile

MIN_WINDOWS = 5
MIN_BUSY = 0.9  # below this share of the time on a processor, the load comes and goes
MIN_UPDATES = 100  # a window spans at least as many updates of the sensor


@dataclass(frozen=True)
class Window:
    """A block of back-to-back inferences, as the meter saw it."""

    n_runs: int
    seconds: float
    joules: float
    start_s: float
    """On the clock of the bench."""
    cpu_s: float
    """Processor time of this program, all threads together."""


def discover() -> dict[str, MeterFile]:
    """Import every meter file, by the name that plans and recipes use; those that `auto` prefers come first."""
    names = (info.name for info in pkgutil.iter_modules(meters.__path__))
    files = {name: cast(MeterFile, importlib.import_module(f"{meters.__name__}.{name}")) for name in names}
    return dict(sorted(files.items(), key=lambda item: (item[1].PREFERENCE, item[0])))


def choose(word: str, root: Path = Path("/")) -> tuple[str | None, str]:
    """Find the meter that `auto`, `none` or a name means, and why there is none otherwise.

    A meter asked for by name must work; `auto` takes the first that does.
    """
    if word == "none":
        return None, "no meter was asked for"
    known = discover()
    if word != "auto":
        if word not in known:
            raise PlanError(f"meter: no meter {word!r}; choose from auto, none, {', '.join(known)}")
        with known[word].open_meter(root):
            return word, ""
    reasons = []
    for name in (name for name, module in known.items() if module.available(root)):
        try:
            with known[name].open_meter(root):
                return name, ""
        except InputError as error:
            reasons.append(str(error))
    return None, "; ".join(reasons) or f"none of the meters ({', '.join(known)}) is on this machine"


@contextmanager
def chosen(word: str, root: Path) -> Iterator[tuple[Meter | None, str]]:
    """Open the meter that a word means; without one, say why."""
    name, reason = choose(word, root)
    with discover()[name].open_meter(root) if name else nullcontext() as meter:
        yield meter, reason


def stood_still(meter: Meter, seconds: float) -> str:
    """Explain why a meter that shows no energy at all is not believed."""
    return f"meter {meter.name!r}: its counters stood still for {seconds:g} s"


def unavailable(reason: str) -> Energy:
    """Say that no joule was measured, and why."""
    return {"kind": "unavailable", "net_j": None, "gross_j": None, "low": None, "high": None, "reason": reason}


def account(windows: Sequence[Window], idle_w: float, meter: Meter) -> Energy:
    """Turn windows into joules, or say why they cannot be believed."""
    if any(math.isnan(window.joules) for window in windows):
        return unavailable(f"meter {meter.name!r} is read by another machine; join its record with these marks")
    if any(window.joules <= 0 for window in windows):
        return unavailable(stood_still(meter, min(window.seconds for window in windows)))
    cpu_s = sum(window.cpu_s for window in windows)
    busy = cpu_s / sum(window.seconds for window in windows)
    rests = f"the program was on a processor for {busy:.0%} of the time only"
    if busy < MIN_BUSY and not meter.averages:
        return unavailable(f"{rests}, and meter {meter.name!r} sees instants: what lies between two of them is unknown")
    energy = measured(windows, idle_w, meter.name, meter.scope)
    warnings = [f"{rests}: waiting is part of these joules"] if busy < MIN_BUSY else []
    if energy["net_j"] is not None and energy["net_j"] <= 0:
        warnings.append("the power does not rise above idle: does the meter see this processor?")
    cpu_s /= sum(window.n_runs for window in windows)
    return {**energy, "cpu_s": None if math.isnan(cpu_s) else cpu_s, "warnings": warnings}


def measured(windows: Sequence[Window], idle_w: float, meter: str, scope: str) -> Energy:
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
        ``edp_js`` is gross energy times the time of one inference: saving the one by losing the
        other does not improve it.

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
        "mean_w": gross / seconds,
        "inferences_per_s": n_runs / seconds,
        "edp_js": gross * seconds / n_runs**2,
        "idle_w": idle_w,
        "n_windows": len(windows),
        "meter": meter,
        "scope": scope,
    }


def student_t(n_free: int) -> float:
    """Half-width of a 95 % interval, in standard errors."""
    return quantile(0.975, n_free)
