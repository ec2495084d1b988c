"""The record of an external meter: read its CSV, find the run in it, and give the run its joules."""

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from .energy import MIN_UPDATES, Window, account
from .errors import InputError
from .meters import external
from .reading import read_text
from .result import Energy, Entry, Marks, Result, Variant, entries

COLUMNS = {"time": "time", "timestamp": "time", "t": "time", "seconds": "time"}
COLUMNS |= {"power": "power", "watts": "power", "w": "power", "p": "power"}
COLUMNS |= {"voltage": "voltage", "volts": "voltage", "v": "voltage"}
COLUMNS |= {"current": "current", "amperes": "current", "amps": "current", "a": "current", "i": "current"}
TITLE = re.compile(r"#?\s*([a-z]+)(?:[\s_(\[]+(m?)(?:[vaws]|sec|seconds)[)\]]?)?", re.IGNORECASE)  # `Current (mA)`
COARSE_S, FINE_S = 0.25, 0.005
N_ERRORS = 5  # of the rise from rest to work: the place in the record is chosen where it is largest, by chance too
MOST_BYTES = 1 << 28  # of a record: three hours at a thousand samples a second
LEAST_RISE = 1e-3  # of the power at rest

Times = float | np.ndarray


@dataclass(frozen=True)
class Trace:
    """Joules counted from the first sample on, at the times of the samples."""

    times_s: np.ndarray
    joules: np.ndarray

    def energy_j(self, start_s: Times, stop_s: Times) -> np.ndarray:
        """Joules between two times, or between each two."""
        until_start_j, until_stop_j = (np.interp(times_s, self.times_s, self.joules) for times_s in (start_s, stop_s))
        return np.asarray(until_stop_j - until_start_j)


@dataclass(frozen=True)
class Span:
    """One comparison: at rest, at work without a pause, at rest again."""

    rest_s: float
    work_s: float
    stop_s: float
    end_s: float


def joined(result: Result, path: Path) -> Result:
    """Give a result the joules that an external meter recorded while it was taken.

    Parameters
    ----------
    result : mapping
        What the bench wrote with the meter `external`, or with any other: each `energy` holds its marks.
    path : Path
        The meter's CSV: a time, and power or voltage and current. Its clock may be another one.

    Returns
    -------
    dict
        The result, each energy measured by the meter `external`.

    Raises
    ------
    InputError
        If the file is no such record, or is shorter than the run.
    """
    trace = read_trace(path)
    marks = [entry["energy"]["marks"] for _, entry in entries(result["variants"]) if "marks" in entry["energy"]]
    if not marks:
        raise InputError(f"{path}: nothing to join it to; measure with the meter 'external' first")
    offset_s = align(trace, _spans(marks), path)
    variants: list[Variant] = [
        {**variant, "bench": [_rejoined(entry, trace, offset_s) for entry in variant["bench"]]}
        for variant in result["variants"]
    ]
    return {**result, "variants": variants}


def read_trace(path: Path) -> Trace:
    """Read a CSV with a line of titles; columns that are neither time, power, voltage nor current are left out."""
    try:
        lines = read_text(path, MOST_BYTES, "utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    separator = next((mark for mark in ",;\t" if lines and mark in lines[0]), " ")
    rows = [row for row in csv.reader(lines, delimiter=separator, skipinitialspace=True) if any(row)]
    columns = _columns(rows, path)
    if "time" not in columns or not ("power" in columns or columns.keys() >= {"voltage", "current"}):
        titles = ", ".join(rows[0]) if rows else "nothing"
        raise InputError(f"{path}: needs titles for time, and for power or voltage and current, got {titles}")
    power_w = columns["power"] if "power" in columns else columns["voltage"] * columns["current"]
    steps_s = np.diff(columns["time"])
    if len(steps_s) < 1 or (steps_s < 0).any() or not np.isfinite(power_w).all():
        raise InputError(f"{path}: times should rise and every sample be a number")
    return Trace(columns["time"], np.concatenate([[0.0], np.cumsum((power_w[1:] + power_w[:-1]) / 2 * steps_s)]))


def align(trace: Trace, spans: Sequence[Span], path: Path) -> float:
    """Find what to add to the bench's times to get the record's: there work stands out most from rest."""
    low_s, high_s = trace.times_s[0] - spans[0].rest_s, trace.times_s[-1] - spans[-1].end_s
    if high_s < low_s:
        took_s = spans[-1].end_s - spans[0].rest_s
        raise InputError(f"{path}: lasts {np.ptp(trace.times_s):.1f} s, and the run {took_s:.1f} s")
    coarse_s = _best(trace, spans, np.arange(low_s, high_s + COARSE_S, COARSE_S).clip(low_s, high_s))
    near_s = np.arange(coarse_s - COARSE_S, coarse_s + COARSE_S, FINE_S).clip(low_s, high_s)
    offset_s = _best(trace, spans, near_s)
    rest_w, work_w = (_powers(trace, _times(spans, kind, offset_s)) for kind in ("rest", "work"))
    rise_w, error_w = work_w.mean() - rest_w.mean(), np.hypot(*(w.std() / len(w) ** 0.5 for w in (rest_w, work_w)))
    if rise_w <= max(N_ERRORS * error_w, LEAST_RISE * rest_w.mean()):
        rise = f"{rise_w:.2g} W above {rest_w.mean():.3g} W, with an error of {error_w:.2g} W"
        raise InputError(f"{path}: work does not stand out from rest, {rise}; is it the record of this run?")
    return offset_s


def _times(spans: Sequence[Span], kind: str, offset_s: float) -> list[tuple[float, float]]:
    """Give when there was rest, or work, on the clock of the record."""
    if kind == "work":
        return [(span.work_s + offset_s, span.stop_s + offset_s) for span in spans]
    ends = [both for span in spans for both in ((span.rest_s, span.work_s), (span.stop_s, span.end_s))]
    return [(start_s + offset_s, stop_s + offset_s) for start_s, stop_s in ends]


def _powers(trace: Trace, times: Iterable[tuple[float, float]]) -> np.ndarray:
    """Mean power of every second of some times."""
    edges = [np.linspace(start_s, stop_s, max(2, round(stop_s - start_s) + 1)) for start_s, stop_s in times]
    return np.concatenate(
        [trace.energy_j(times_s[:-1], times_s[1:]) / np.diff(times_s) for times_s in edges if np.ptp(times_s) > 0]
    )


def _best(trace: Trace, spans: Sequence[Span], offsets_s: np.ndarray) -> float:
    """Offset with the highest power at work above that at rest."""
    work_j = sum(trace.energy_j(offsets_s + span.work_s, offsets_s + span.stop_s) for span in spans)
    all_j = sum(trace.energy_j(offsets_s + span.rest_s, offsets_s + span.end_s) for span in spans)
    work_s = sum(span.stop_s - span.work_s for span in spans)
    all_s = sum(span.end_s - span.rest_s for span in spans)
    return float(offsets_s[np.argmax(work_j / work_s - (all_j - work_j) / (all_s - work_s))])


def _spans(marks: Iterable[Marks]) -> list[Span]:
    """Join the marks of files that were measured side by side: they share their idle times."""
    together: dict[tuple[float, float, float], float] = {}
    for mark in marks:
        (rest_s, work_s), (_, end_s) = mark["idle"]
        stop_s = max(stop_s for _, stop_s, *_ in mark["windows"])
        together[rest_s, work_s, end_s] = max(stop_s, together.get((rest_s, work_s, end_s), stop_s))
    return [Span(rest_s, work_s, stop_s, end_s) for (rest_s, work_s, end_s), stop_s in sorted(together.items())]


def _rejoined(entry: Entry, trace: Trace, offset_s: float) -> Entry:
    """Measure one entry by its marks; one without marks stays as it is."""
    marks = entry["energy"].get("marks")
    if marks is None:
        return entry
    idle = np.array(marks["idle"]) + offset_s
    idle_w = float(trace.energy_j(idle[:, 0], idle[:, 1]).sum() / (idle[:, 1] - idle[:, 0]).sum())
    windows = [
        Window(n_runs, stop_s - start_s, float(trace.energy_j(start_s + offset_s, stop_s + offset_s)), start_s, cpu_s)
        for start_s, stop_s, n_runs, cpu_s in marks["windows"]
    ]
    energy = account(windows, idle_w, external.Marks())
    sparse = [_sparse(trace, windows, offset_s)] if _n_samples(trace, windows, offset_s) < MIN_UPDATES else []
    joined: Energy = {
        **energy,
        "warnings": energy.get("warnings", []) + sparse,
        "host": entry["energy"]["host"],
        "marks": marks,
    }
    return {**entry, "energy": joined}


def _n_samples(trace: Trace, windows: Sequence[Window], offset_s: float) -> int:
    """Count the samples of the window that has the fewest."""
    edges_s = np.array([[w.start_s, w.start_s + w.seconds] for w in windows]) + offset_s
    return int(np.diff(np.searchsorted(trace.times_s, edges_s), axis=1).min())


def _sparse(trace: Trace, windows: Sequence[Window], offset_s: float) -> str:
    return f"{_n_samples(trace, windows, offset_s)} samples in a window; {MIN_UPDATES} are needed to trust it"


def _columns(rows: Sequence[Sequence[str]], path: Path) -> dict[str, np.ndarray]:
    """Columns by what they are, in s, W, V and A; of two that are the same thing, the first."""
    columns: dict[str, np.ndarray] = {}
    for index, title in enumerate(rows[0] if rows else []):
        match = TITLE.fullmatch(title.strip())
        word = COLUMNS.get(match[1].lower()) if match else None
        if match and word and word not in columns:
            try:
                numbers = np.array([_value(row[index]) for row in rows[1:]])
            except (ValueError, IndexError) as error:
                raise InputError(f"{path}: column {title!r} is not numbers: {error}") from error
            columns[word] = numbers * (1e-3 if match[2] else 1.0)
    return columns


def _value(text: str) -> float:
    """Read a number, or a date as seconds since 1970."""
    try:
        return float(text)
    except ValueError:
        return datetime.fromisoformat(text).timestamp()
