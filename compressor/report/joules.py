"""Joules of three kinds: which may be compared, and what is to be said of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compressor.report import words

Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Remark:
    """Something to be said of one or more energies, and of which."""

    text: str
    where: str
    """Files and shapes; empty if it is said of all."""


def are_alike(one: Facts, other: Facts) -> bool:
    """Tell whether two energies may stand in one ratio: of one kind, by one meter, and both above idle."""
    same = all(one[key] == other[key] for key in ("kind", "meter", "scope"))
    return same and one["net_j"] is not None and min(one["net_j"], other["net_j"]) > 0


def origin(energy: Facts) -> str:
    """Say how joules were found: the kind first."""
    return f"{energy['kind']}, {energy['meter']}: {energy['scope']}"


def origins(variants: Sequence[Facts]) -> list[Remark]:
    """Name the meter or the profile behind joules, and what they cover."""
    return _remarks(variants, lambda energy: [origin(energy)] if energy["net_j"] is not None else [])


def reasons(variants: Sequence[Facts]) -> list[Remark]:
    """Say why there are no joules, where there are none."""
    return _remarks(variants, lambda energy: [energy["reason"]] if energy["net_j"] is None else [])


def warnings(variants: Sequence[Facts]) -> list[Remark]:
    """Spell out what speaks against joules, each warning once."""
    return _remarks(variants, lambda energy: energy["warnings"] if energy["net_j"] is not None else [])


def hosts(variants: Sequence[Facts]) -> list[Remark]:
    """Describe the processor after the windows."""
    return _remarks(variants, lambda energy: [_host(energy["host"])] if energy["host"] else [])


def largest(variants: Sequence[Facts], shape: str, key: str) -> float | None:
    """Find the largest number at a shape; all others are written in its unit."""
    found = [entry["energy"][key] for _, entry in _entries(variants) if words.shape(entry) == shape]
    return max((abs(value) for value in found if value is not None), default=None)


def _host(state: Facts) -> str:
    parts = [f"governor {state['governor']}"] if state["governor"] else []
    parts += [f"{state['frequency_mhz']:,.0f} MHz"] if state["frequency_mhz"] else []
    parts += [f"{state['temperature_c']:.0f} °C"] if state["temperature_c"] is not None else []
    parts += [f"throttled {state['n_throttles']:,} times since boot"] if state["n_throttles"] is not None else []
    return ", ".join(parts) or "neither governor, frequency, temperature nor throttling are shown"


def _remarks(variants: Sequence[Facts], texts: Callable[[Facts], Sequence[str]]) -> list[Remark]:
    """Collect remarks, and where each applies; what applies everywhere needs no place."""
    places: dict[str, dict[str, list[str]]] = {}
    entries = list(_entries(variants))
    for variant, entry in entries:
        for text in texts(entry["energy"]):
            places.setdefault(text, {}).setdefault(words.shape(entry), []).append(variant["name"])
    return [
        Remark(text, "" if sum(map(len, at.values())) == len(entries) else _where(at, len(variants)))
        for text, at in places.items()
    ]


def _where(names_at: Mapping[str, Sequence[str]], n_files: int) -> str:
    shapes: dict[str, list[str]] = {}
    for shape, names in names_at.items():
        shapes.setdefault("all files" if len(names) == n_files else ", ".join(names), []).append(shape)
    return "; ".join(f"{names} at {', '.join(at)}" for names, at in shapes.items())


def _entries(variants: Sequence[Facts]) -> Iterator[tuple[Facts, Facts]]:
    return ((variant, entry) for variant in variants for entry in variant["bench"])
