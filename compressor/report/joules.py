"""Joules of three kinds: which may be compared, and what has to be said about them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from compressor.bench.result import Energy, HostState, Variant, entries
from compressor.bench.shape import Shape
from compressor.report import words

Number = Literal["net_j", "gross_j", "mean_w", "edp_js"]


@dataclass(frozen=True)
class Remark:
    """Something to be said of one or more energies."""

    text: str
    where: str
    """Files and shapes; empty if it is said of all."""


def net_pair(one: Energy, other: Energy) -> tuple[float, float] | None:
    """Give the net joules of two energies that may stand in one ratio.

    Returns
    -------
    tuple of float or None
        None unless both are of one kind, by one meter, and above idle.
    """
    is_alike = all(one.get(key) == other.get(key) for key in ("kind", "meter", "scope"))
    net_j, other_j = one["net_j"], other["net_j"]
    if not is_alike or net_j is None or other_j is None or min(net_j, other_j) <= 0:
        return None
    return net_j, other_j


def origin(energy: Energy) -> str:
    """Say how joules were found: the kind first."""
    return f"{energy['kind']}, {energy['meter']}: {energy['scope']}"


def origins(variants: Sequence[Variant]) -> list[Remark]:
    """Name the meter or the profile behind joules, and what they cover."""
    return _remarks(variants, lambda energy: [origin(energy)] if energy["net_j"] is not None else [])


def reasons(variants: Sequence[Variant]) -> list[Remark]:
    """Say why there are no joules, where there are none."""
    return _remarks(variants, lambda energy: [energy["reason"] or ""] if energy["net_j"] is None else [])


def warnings(variants: Sequence[Variant]) -> list[Remark]:
    """List what makes joules doubtful, each warning once."""
    return _remarks(variants, lambda energy: energy["warnings"] if energy["net_j"] is not None else [])


def hosts(variants: Sequence[Variant]) -> list[Remark]:
    """Describe the processor after the windows."""
    return _remarks(variants, lambda energy: [_host(energy["host"])] if energy["host"] else [])


def largest(variants: Sequence[Variant], shape: Shape, key: Number) -> float | None:
    """Find the largest number at a shape; all others are written in its unit."""
    numbers = [entry["energy"][key] for _, entry in entries(variants) if Shape.of(entry) == shape]
    return max((abs(number) for number in numbers if number is not None), default=None)


def shapes(variants: Sequence[Variant]) -> list[Shape]:
    """List the shapes at which any file has joules."""
    known = (entry for _, entry in entries(variants) if entry["energy"]["net_j"] is not None)
    return list(dict.fromkeys(map(Shape.of, known)))


def _host(state: HostState) -> str:
    parts = [f"governor {state['governor']}"] if state["governor"] else []
    parts += [f"{state['frequency_mhz']:,.0f} MHz"] if state["frequency_mhz"] else []
    parts += [f"{state['temperature_c']:.0f} °C"] if state["temperature_c"] is not None else []
    parts += [f"throttled {state['n_throttles']:,} times since boot"] if state["n_throttles"] is not None else []
    return ", ".join(parts) or "neither governor, frequency, temperature nor throttling are shown"


def _remarks(variants: Sequence[Variant], texts: Callable[[Energy], Sequence[str]]) -> list[Remark]:
    """Collect remarks, and where each applies; what applies everywhere needs no place."""
    places: dict[str, dict[str, list[str]]] = {}
    measured = entries(variants)
    for variant, entry in measured:
        for text in texts(entry["energy"]):
            places.setdefault(text, {}).setdefault(words.shape(Shape.of(entry)), []).append(variant["name"])
    return [
        Remark(text, "" if sum(map(len, names_at.values())) == len(measured) else _where(names_at, len(variants)))
        for text, names_at in places.items()
    ]


def _where(names_at: Mapping[str, Sequence[str]], n_files: int) -> str:
    shapes_of: dict[str, list[str]] = {}
    for shape, names in names_at.items():
        shapes_of.setdefault("all files" if len(names) == n_files else ", ".join(names), []).append(shape)
    return "; ".join(f"{names} at {', '.join(shapes_)}" for names, shapes_ in shapes_of.items())
