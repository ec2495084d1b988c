"""Numbers as a reader wants them: few digits, a unit, and what changed; percent and points exist only here."""

from collections.abc import Mapping

from compressor.bench.result import Host, Joules
from compressor.bench.shape import Shape
from compressor.report.document import Verdict

MIB = 2**20
NONE = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
SAME = "about the same"
UNAVAILABLE = "unavailable"
TIMES = "\N{MULTIPLICATION SIGN}"


def digits(value: float) -> str:
    """Write a number with three digits, or with as many as stand before its point.

    Examples
    --------
    >>> [digits(value) for value in (0.13586, 9.1, 30.68, 240.2, 12345.6)]
    ['0.136', '9.10', '30.7', '240', '12,346']
    """
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}".rstrip(".")


def number(value: float | None) -> str:
    """Write a number whose unit stands elsewhere."""
    return NONE if value is None else digits(value)


def count(value: float | None) -> str:
    """Write a large count short.

    Examples
    --------
    >>> [count(value) for value in (872, 22_713_216, 1_230_000_000)]
    ['872', '22.7 M', '1.23 G']
    """
    if value is None:
        return NONE
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{digits(value / size)} {unit}"
    return f"{value:,.0f}"


def ms(value: float | None) -> str:
    """Write milliseconds."""
    return NONE if value is None else f"{digits(value)} ms"


def mib(n_bytes: float | None) -> str:
    """Write bytes as MiB."""
    return NONE if n_bytes is None else f"{digits(n_bytes / MIB)} MiB"


def accuracy(value: float | None) -> str:
    """Write a fraction of right answers as papers do."""
    return NONE if value is None else f"{value:.4f}"


def percent(fraction: float | None) -> str:
    """Write a fraction as a percentage."""
    return NONE if fraction is None else f"{100 * fraction:.0f} %"


def times_in_words(number: int) -> str:
    """Write how often something was done.

    Examples
    --------
    >>> [times_in_words(number) for number in (1, 2, 7)]
    ['once', 'twice', '7 times']
    """
    return {1: "once", 2: "twice"}.get(number, f"{number} times")


def seconds(value: float | None) -> str:
    """Write a duration.

    Examples
    --------
    >>> [seconds(value) for value in (4.21, 95, 1830, 7325)]
    ['4.2 s', '1 min 35 s', '30 min 30 s', '2 h 2 min']
    """
    if value is None:
        return NONE
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def points(before: float, after: float) -> str:
    """Write what became of an accuracy, in points of a hundred."""
    change = round(100 * (after - before), 2)
    sign = MINUS if change < 0 else "+" if change > 0 else "±"
    return f"{sign}{abs(change):.2f} points"


def change(before: str, after: str) -> str:
    """Write what a number was and is."""
    return f"{before} \N{RIGHTWARDS ARROW} {after}"


def times(before: float, after: float, less: str, more: str) -> str:
    """Write a ratio so that it is at least one, with its direction: twice faster, not half the time."""
    factor, word = (before / after, less) if after <= before else (after / before, more)
    if factor < 1.05:
        return SAME
    return f"{factor:.1f}{TIMES} {word}" if factor < 99.95 else f"{factor:,.0f}{TIMES} {word}"


def shape(measured: Shape) -> str:
    """Write a measured shape: batch and length, and the threads where there are several.

    Examples
    --------
    >>> shape(Shape(8, None)), shape(Shape(8, None, threads=4))
    ('batch 8', 'batch 8 (4 threads)')
    """
    size = f"{measured.batch_size}{TIMES}{measured.length}" if measured.length else f"batch {measured.batch_size}"
    return size if measured.threads == 1 else f"{size} ({measured.threads} threads)"


def flops_at(name: str) -> str:
    """Write the shape, given by its name, for which FLOPs were counted."""
    return shape(Shape.parse(name))


def scaled(value: float, unit: str) -> tuple[float, str]:
    """Find the size of unit, from nano to one, that leaves a number of three digits or fewer.

    Examples
    --------
    >>> scaled(1e-3, "J"), scaled(1.0, "W")
    ((0.001, 'mJ'), (1.0, 'W'))
    """
    for prefix, size in (("", 1.0), ("m", 1e-3), ("µ", 1e-6)):
        if abs(value) >= size:
            return size, f"{prefix}{unit}"
    return (1e-9, f"n{unit}") if value else (1.0, unit)


def amount(value: float | None, unit: str, like: float | None = None) -> str:
    """Write a small amount with a unit of its size, or in that of another amount, to be compared with it.

    Examples
    --------
    >>> [amount(value, "J") for value in (2.1, 0.031, 4.27e-5)]
    ['2.10 J', '31.0 mJ', '42.7 µJ']
    >>> amount(4.27e-5, "J", like=0.031)
    '0.0427 mJ'
    """
    if value is None:
        return NONE
    size, unit = scaled(value if like is None else like, unit)
    return f"{digits(value / size)} {unit}".replace("-", MINUS)


def interval(low: float | None, high: float | None, unit: str, like: float | None = None) -> str:
    """Write two bounds in one unit, as `amount` does.

    Examples
    --------
    >>> interval(0.0301, 0.0319, "J")
    '30.1 to 31.9 mJ'
    """
    if low is None or high is None:
        return NONE
    size, unit = scaled(max(abs(low), abs(high)) if like is None else like, unit)
    return f"{digits(low / size)} to {digits(high / size)} {unit}".replace("-", MINUS)


def joules(energy_: Joules | None) -> str:
    """Write J/inference where its kind stands elsewhere."""
    return UNAVAILABLE if energy_ is None or energy_["net_j"] is None else amount(energy_["net_j"], "J")


def energy(energy_: Joules | None) -> str:
    """Write J/inference with its kind, or say that there is none.

    Examples
    --------
    >>> energy({"kind": "estimated", "net_j": 0.031})
    '31.0 mJ estimated'
    >>> energy({"kind": "unavailable", "net_j": None})
    'unavailable'
    """
    text = joules(energy_)
    return text if energy_ is None or text == UNAVAILABLE else f"{text} {energy_['kind']}"


def host(environment: Host) -> str:
    """Describe the machine that numbers were taken on.

    Examples
    --------
    >>> cpu = {"model": "Raspberry Pi 5", "flags": []}
    >>> host({"cpu": cpu, "n_cores": 4, "governor": "ondemand", "temperature_c": 61.2, "is_emulated": False})
    'Raspberry Pi 5, 4 cores, governor ondemand, 61 °C'
    >>> host({"cpu": cpu, "n_cores": 4, "governor": None, "temperature_c": None, "is_emulated": True})
    'Raspberry Pi 5 (emulated), 4 cores, governor and temperature not shown'
    """
    n_cores, governor, celsius = environment["n_cores"], environment["governor"], environment["temperature_c"]
    hidden = [
        name for name, is_hidden in (("governor", governor is None), ("temperature", celsius is None)) if is_hidden
    ]
    parts = [
        f"{environment['cpu']['model']}{' (emulated)' if environment['is_emulated'] else ''}",
        f"{n_cores} cores" if n_cores else "",
        f"governor {governor}" if governor else "",
        f"{celsius:.0f} °C" if celsius is not None else "",
        f"{' and '.join(hidden)} not shown" if hidden else "",
    ]
    return ", ".join(filter(None, parts))


def versions(programs: Mapping[str, str]) -> str:
    """List programs with their versions."""
    return ", ".join(f"{name} {version}" for name, version in programs.items())


GATES = {
    "max_accuracy_drop": "accuracy",
    "max_p50_ratio": "p50",
    "max_size_ratio": "size",
    "max_energy_ratio": "energy",
}


def gate(verdict: Verdict) -> str:
    """Write a limit and how it stands.

    Examples
    --------
    >>> gate({"name": "max_p50_ratio", "value": 0.2261, "limit": 0.6, "note": "worst at 1x32"})
    'p50 22.6 % of the original, limit 60 %'
    >>> gate({"name": "max_accuracy_drop", "value": 0.0034, "limit": 0.01, "note": ""})
    'accuracy loses 0.34 points, may lose 1'
    >>> gate({"name": "max_energy_ratio", "value": None, "limit": 0.6, "note": "energy is unavailable"})
    'energy unknown, limit 60 %: energy is unavailable'
    """
    return f"{GATES[verdict['name']]} {standing(verdict)}"


def state(verdict: Verdict) -> str:
    """Say whether a limit is met, missed, or unknown for lack of a value."""
    return "met" if verdict["met"] else "unknown" if verdict["value"] is None else "missed"


def standing(verdict: Verdict) -> str:
    """Write a value and its limit in one unit: points of accuracy, or percent of the original."""
    is_drop, value, limit = verdict["name"] == "max_accuracy_drop", verdict["value"], f"{100 * verdict['limit']:g}"
    allowed = f"may lose {limit}" if is_drop else f"limit {limit} %"
    if value is None:
        return f"unknown, {allowed}: {verdict['note']}"
    if is_drop:
        return f"{lost(value)}, {allowed}"
    return f"{digits(100 * value)} % of the original, {allowed}"


def lost(drop: float) -> str:
    """Say what a drop of accuracy is, in points of a hundred."""
    points_ = round(100 * drop, 2)
    return (
        f"loses {points_:.2f} points" if points_ > 0 else f"gains {-points_:.2f} points" if points_ < 0 else "keeps all"
    )
