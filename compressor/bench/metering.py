"""How energy is measured: idle, warm-up until steady, long windows in turn, idle again."""

import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import thermal
from .clock import HOST_CLOCK, Clock
from .energy import MIN_UPDATES, MIN_WINDOWS, Window, account, chosen, stood_still, unavailable
from .errors import InputError
from .meters import Meter
from .result import Energy, HostState, Marks

IDLE_S = 10.0
IDLE_UPDATES = 20
SETTLE_S = 2.0  # after work, before the idle power is taken: clocks and fans come down
STEP_S = 0.02  # between two looks at a counter, to catch its updates
WINDOW_S = 10.0
SLICE_S, SLICE_UPDATES, N_SLICES = 2.0, 20, 3
STEADY = 0.01  # largest difference of successive slices, as a fraction
STEADY_LIMIT_S = 60.0
LEAD_UPDATES = 2  # of work before each window: a slow sensor still shows what ran before
MAX_IDLE_DRIFT = 0.05

Run = Callable[[], object]


@dataclass(frozen=True)
class Idle:
    """Power without work, and how often the meter really updates."""

    watts: float
    update_s: float
    start_s: float
    stop_s: float


def energies(runs: Mapping[str, Run], word: str, rng: random.Random, root: Path = Path("/")) -> dict[str, Energy]:
    """Measure with the meter that a word means, or say why there is none; it is open only during the measurement.

    Readings in the background would disturb what is timed before and after.
    """
    with chosen(word, root) as (meter, reason):
        return compare(runs, meter, rng, root=root) if meter else _nothing(runs, reason)


def compare(
    runs: Mapping[str, Run],
    meter: Meter,
    rng: random.Random,
    clock: Clock = HOST_CLOCK,
    root: Path = Path("/"),
) -> dict[str, Energy]:
    """Measure the energy of callables side by side.

    Idle power is taken before and after. Each callable warms up until its power is steady, then all
    take turns, in an order drawn again each time, in windows of back-to-back runs.

    Parameters
    ----------
    runs : mapping from name to callable
        One inference each.
    meter : Meter
        Already entered.
    rng : random.Random
        Draws the order.
    clock : Clock
        Time, and how to wait.
    root : Path
        Root of the file system that shows governor, temperatures and throttling.

    Returns
    -------
    dict from name to dict
        The ``energy`` of a result: measured, or unavailable with the reason if the meter fails on the
        way, stands still, or cannot see a load that comes and goes.

    Notes
    -----
    With a sensor of 10 Hz or faster and n callables: about 30 s + n x (6 s + 50 s).
    """
    try:
        before = idle(meter, clock)
        if before.watts <= 0:
            return _nothing(runs, stood_still(meter, before.stop_s - before.start_s))
        state = thermal.state(root)
        unsteady = [name for name, run in runs.items() if not warm_up(run, meter, before.update_s, clock)]
        windows = in_turn(runs, meter, before.update_s, rng, clock)
        slowed = thermal.complaints(state, now := thermal.state(root))
        clock.sleep(SETTLE_S)
        after = idle(meter, clock)
    except InputError as error:
        return _nothing(runs, str(error))
    warnings = {name: slowed + _doubts(before, after, is_unsteady=name in unsteady) for name in runs}
    return {name: _entry(windows[name], (before, after), meter, now, warnings[name]) for name in runs}


def idle(meter: Meter, clock: Clock) -> Idle:
    """Mean power while this program waits, from the first update of the meter seen to the last.

    Between updates a slow counter is behind by an unknown amount; at an update it is right.
    """
    step_s = max(STEP_S, meter.update_s)
    start_s = last_s = clock.now()
    end_s = start_s + max(IDLE_S, IDLE_UPDATES * meter.update_s)
    seen: list[tuple[float, float]] = []
    last_j = meter.joules()
    while last_s < end_s:
        clock.sleep(step_s)
        last_s, now_j = clock.now(), meter.joules()
        if now_j != last_j:
            seen.append((last_s, now_j))
        last_j = now_j
    if len(seen) < 2:
        return Idle(0.0, meter.update_s, start_s, last_s)
    (first_s, first_j), (final_s, final_j) = seen[0], seen[-1]
    mean_gap_s = (final_s - first_s) / (len(seen) - 1)
    return Idle((final_j - first_j) / (final_s - first_s), max(meter.update_s, mean_gap_s), start_s, last_s)


def warm_up(run: Run, meter: Meter, update_s: float, clock: Clock) -> bool:
    """Run until three successive slices have the same power; False if they never do.

    What one update of the meter adds or lacks in a slice is not a difference.
    """
    slice_s = max(SLICE_S, SLICE_UPDATES * update_s)
    tolerance = max(STEADY, 2 * update_s / slice_s)
    end_s = clock.now() + max(STEADY_LIMIT_S, 2 * N_SLICES * slice_s)
    powers: deque[float] = deque(maxlen=N_SLICES)
    while clock.now() < end_s:
        seen = _window(run, meter, slice_s, clock)
        powers.append(seen.joules / seen.seconds)
        is_different = max(powers) - min(powers) > tolerance * max(powers)  # False if powers are not known yet
        if len(powers) == N_SLICES and not is_different:
            return True
    return False


def in_turn(
    runs: Mapping[str, Run], meter: Meter, update_s: float, rng: random.Random, clock: Clock
) -> dict[str, list[Window]]:
    """Give every callable its windows, each long enough that one update of the meter more or less is nothing."""
    window_s = max(WINDOW_S, MIN_UPDATES * update_s)
    windows: dict[str, list[Window]] = {name: [] for name in runs}
    for _ in range(MIN_WINDOWS):
        for name in rng.sample(list(runs), len(runs)):
            _run_for(runs[name], LEAD_UPDATES * update_s, clock)
            windows[name].append(_window(runs[name], meter, window_s, clock))
    return windows


def _window(run: Run, meter: Meter, seconds: float, clock: Clock) -> Window:
    before_j, cpu_s, start_s = meter.joules(), clock.cpu_s(), clock.now()
    n_runs = _run_for(run, seconds, clock)
    stop_s, busy_s = clock.now(), clock.cpu_s() - cpu_s
    return Window(n_runs, stop_s - start_s, meter.joules() - before_j, start_s, busy_s)


def _run_for(run: Run, seconds: float, clock: Clock) -> int:
    """Run back to back until the time is over, and at least once."""
    end_s, n_runs = clock.now() + seconds, 0
    while not n_runs or clock.now() < end_s:
        run()
        n_runs += 1
    return n_runs


def _entry(
    windows: Sequence[Window], idles: tuple[Idle, Idle], meter: Meter, host: HostState, warnings: list[str]
) -> Energy:
    """One `energy` entry: joules, the doubts about them, and the marks by which a record is joined."""
    before, after = idles
    energy = account(windows, (before.watts + after.watts) / 2, meter)
    if energy["kind"] == "measured":
        energy |= {"idle_before_w": before.watts, "idle_after_w": after.watts}
    marks: Marks = {
        "idle": [[span.start_s, span.stop_s] for span in idles],
        "windows": [(w.start_s, w.start_s + w.seconds, w.n_runs, w.cpu_s) for w in windows],
    }
    return {**energy, "warnings": energy.get("warnings", []) + warnings, "host": host, "marks": marks}


def _doubts(before: Idle, after: Idle, is_unsteady: bool) -> list[str]:
    """Say what makes net joules doubtful: how idle power moved in between is unknown."""
    doubts = ["the power was not steady after the warm-up"] if is_unsteady else []
    if abs(after.watts - before.watts) > MAX_IDLE_DRIFT * before.watts:
        doubts.append(f"idle power moved from {before.watts:.2f} W to {after.watts:.2f} W")
    return doubts


def _nothing(names: Mapping[str, Run], reason: str) -> dict[str, Energy]:
    return {name: unavailable(reason) for name in names}
