"""Numbers as a reader wants them: few digits, a unit, and what changed; percent and points exist only here."""

from collections.abc import Mapping
from typing import Any

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


def times(before: float, after: float, less: str, more: str) -> str:
    """Write a ratio so that it is at least one, with its direction: twice faster, not half the time."""
    factor, word = (before / after, less) if after <= before else (after / before, more)
    if factor < 1.05:
        return SAME
    return f"{factor:.1f}{TIMES} {word}" if factor < 99.95 else f"{factor:,.0f}{TIMES} {word}"


def shape(entry: Mapping[str, Any]) -> str:
    """Name a measured shape: batch and length, and the threads where there are several."""
    size = f"{entry['batch_size']}{TIMES}{entry['length']}" if entry["length"] else f"batch {entry['batch_size']}"
    return size if entry["threads"] == 1 else f"{size}, {entry['threads']} threads"


def flops_at(key: str) -> str:
    """Name a shape for which operations were counted: 1x32, or the batch alone."""
    batch, _, length = key.partition("x")
    return shape({"batch_size": batch, "length": length, "threads": 1})


def energy(found: Mapping[str, Any] | None) -> str:
    """Write J/inference with its kind, or say that there is none."""
    if found is None or found["net_j"] is None:
        return UNAVAILABLE
    kind = "" if found["kind"] == "measured" else f" ({found['kind']})"
    return f"{digits(found['net_j'])} J{kind}"


def gate(found: Mapping[str, Any]) -> str:
    """Write a limit and how it stands.

    Examples
    --------
    >>> gate({"name": "max_p50_ratio", "value": 0.2261, "limit": 0.6, "note": "worst at 1x32"})
    'p50 ratio 0.226, limit 0.6'
    >>> gate({"name": "max_energy_ratio", "value": None, "limit": 0.6, "note": "energy is unavailable"})
    'energy ratio unknown, limit 0.6: energy is unavailable'
    """
    title = found["name"].removeprefix("max_").replace("_", " ")
    if found["value"] is None:
        return f"{title} unknown, limit {found['limit']:g}: {found['note']}"
    return f"{title} {found['value']:.3g}, limit {found['limit']:g}"
