"""Cost tables: what the bench measured of uniformly cut copies of a network, in turns with the original."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from compressor.bench import host
from compressor.bench.result import Entry, PlannedVariant, Result, Variant
from compressor.bench.shape import Shape
from compressor.errors import InputError, listed
from compressor.report import measured, speed
from compressor.surgery import Width
from compressor.targets.costs import Comparison, Costs, Curve, Ratios, curve
from compressor.targets.cutting import groups

Sizes = Mapping[str, int]
FlopsPerUnit = Mapping[Shape, Mapping[str, float]]
"""By size of the inputs and by the name of a width."""


def read(file: Path, machine: str | None, uncut: PlannedVariant, shapes: Sequence[Shape]) -> Result:
    """Read a table that `compress bench` made, and refuse one of another machine, network, precision or bench.

    Parameters
    ----------
    file : Path
        What ``compress bench`` printed with ``--json``, or a bundle's ``bench.json``.
    machine : str, optional
        Part of the name of the processor that it must be of; by default it must be this one.
    uncut : mapping
        The network at hand as the first file of a plan: its precision, parameters and widths.
    shapes : sequence of Shape
        The points that it must have.

    Raises
    ------
    InputError
        If it is another table.
    """
    result = measured.read(file)
    cpu = result["environment"]["cpu"]["model"]
    wanted = machine or host.cpu()["model"]
    if wanted not in cpu:
        cure = "name its processor with 'machine'" if machine is None else "give the table of that machine"
        raise InputError(f"cost_table: {file} was measured on {cpu!r}, not on {wanted!r}; {cure}")
    facts = ("precision", "n_params", "widths")
    if not any(all(each.get(fact) == uncut.get(fact) for fact in facts) for each in result["variants"]):
        raise InputError(f"cost_table: {file} is of another network or precision; make it of this recipe")
    has = {Shape.of(entry).name for entry in result["variants"][0]["bench"]}
    if missing := [shape.name for shape in shapes if shape.name not in has]:
        raise InputError(f"cost_table: {file} has no times at {listed(missing)}; measure these points too")
    return result


def costs(result: Result, widths: Sequence[Width], flops_per_unit: FlopsPerUnit, shapes: Sequence[Shape]) -> Costs:
    """Make costs of a table: what a group saves is spread over its widths by the FLOPs that each accounts for.

    With all widths of a group at the share of a copy, the costs add up to what was measured of it.
    """
    sizes = {width.name: width.size for width in widths}
    whole = ratios(result, next(each for each in result["variants"] if _units(each, widths) == sizes))
    copies = [
        (counts, ratios(result, each)) for each in result["variants"] if (counts := _units(each, widths)) != sizes
    ]
    original_ms = comparison(result, []).original_ms
    return Costs(
        {shape.name: whole[shape.name] for shape in shapes},
        {shape.name: dict(_curves(copies, whole, shape.name, widths, flops_per_unit[shape.size])) for shape in shapes},
        {shape.name: original_ms[shape.name] for shape in shapes},
    )


def comparison(result: Result, files: Sequence[Variant]) -> Comparison:
    """Compare files with the first one."""
    clock = speed.clock(result["variants"])
    original = result["variants"][0]["bench"]
    original_ms = {Shape.of(entry).name: clock.ms(entry) or entry["p50_ms"] for entry in original}
    return Comparison([ratios(result, file) for file in files], original_ms)


def ratios(result: Result, file: Variant) -> Ratios:
    """Compare a file with the first one at each point: the median over the blocks in which they took turns."""
    clock = speed.clock(result["variants"])
    pairs = zip(result["variants"][0]["bench"], file["bench"], strict=True)
    return {Shape.of(after).name: _ratio(before, after, clock) for before, after in pairs}


def _ratio(before: Entry, after: Entry, clock: speed.Clock) -> float:
    blocks = list(zip(clock.blocks_ms(before), clock.blocks_ms(after), strict=True))
    return statistics.median(new_ms / old_ms for old_ms, new_ms in blocks)


def _units(file: Variant, widths: Sequence[Width]) -> dict[str, int]:
    """Pick the numbers of units of the widths that are chosen."""
    return {width.name: file["widths"][width.name] for width in widths if width.name in file.get("widths", {})}


def _curves(
    copies: Sequence[tuple[Sizes, Ratios]],
    whole: Ratios,
    point: str,
    widths: Sequence[Width],
    flops_per_unit: Mapping[str, float],
) -> Iterator[tuple[str, Curve]]:
    """Yield the curve of each width at a point."""
    for group in groups(widths).values():
        own = [(counts, ratio) for counts, ratio in copies if _is_of(counts, group, widths)]
        saved: dict[str, dict[int, float]] = {width.name: {} for width in group}
        for counts, ratio in own:
            removed = {width.name: width.size - counts[width.name] for width in group}
            flops = {name: n_units * flops_per_unit[name] for name, n_units in removed.items()}
            shares = flops if any(flops.values()) else removed  # where no product depends on the units
            for width in group:
                share = shares[width.name] / sum(shares.values())
                saved[width.name][counts[width.name]] = share * (whole[point] - ratio[point])
        yield from ((width.name, curve(width.size, saved[width.name])) for width in group)


def _is_of(counts: Sizes, group: Sequence[Width], widths: Sequence[Width]) -> bool:
    """Whether a copy is cut in widths of this group, and in no other."""
    return {width.what for width in widths if counts.get(width.name) != width.size} == {group[0].what}
