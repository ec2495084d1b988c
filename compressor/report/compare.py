"""Before and after: files of one kind side by side."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compressor.report import joules, words

Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Pair:
    """The original and the result of one kind: both fp32, or both int8."""

    kind: str
    original: Facts | None
    result: Facts | None


@dataclass(frozen=True)
class Cell:
    """One fact of a pair."""

    before: str
    after: str
    change: str = ""
    is_better: bool | None = None


@dataclass(frozen=True)
class Row:
    """One fact of every pair."""

    title: str
    cells: list[Cell]


def pairs(variants: Sequence[Facts]) -> list[Pair]:
    """Put files of one kind together; like is compared with like."""
    found = []
    for is_quantized in (False, True):
        alike = [variant for variant in variants if variant["quantized"] == is_quantized]
        if alike:
            ends = (_last(alike, "original"), _last(alike, "result"))
            found.append(Pair("int8" if is_quantized else "fp32", *ends))
    return found


def rows(found: Sequence[Pair]) -> list[Row]:
    """List everything known of the pairs; what no file knows is left out."""
    table = [Row("accuracy", [_accuracy(pair) for pair in found])]
    measured = shapes(variant for pair in found for variant in (pair.original, pair.result) if variant)
    for shape in measured:
        table.append(_row(f"p50, {shape}", found, _at(shape, "p50_ms"), words.ms, ("faster", "slower")))
    table.append(_row("file size", found, _of("size_bytes"), words.mib, ("smaller", "larger")))
    table.append(_row("parameters", found, _of("n_params"), words.count, ("fewer", "more")))
    for size, shape in {each.partition(" (")[0]: each for each in measured}.items():  # threads change no count
        table.append(_row(f"FLOPs, {size}", found, _at(shape, "n_flops"), words.count, ("fewer", "more")))
    table.append(_row("peak memory", found, _of("peak_memory_bytes"), words.mib, ("less", "more")))
    table.append(_row("load time", found, _of("load_ms"), words.ms, ("faster", "slower")))
    for shape in measured:
        table.append(_energies(found, shape))
    known = [row for row in table if any({cell.before, cell.after} != {words.NONE} for cell in row.cells)]
    return _without_unavailable(known)


def _row(
    title: str,
    found: Sequence[Pair],
    number: Callable[[Facts], float | None],
    write: Callable[[float | None], str],
    directions: tuple[str, str],
) -> Row:
    """Compare a number that should be small."""
    cells = []
    for pair in found:
        before, after = (number(variant) if variant else None for variant in (pair.original, pair.result))
        if before and after:
            change = words.times(before, after, *directions)
            cells.append(Cell(write(before), write(after), change, None if change == words.SAME else after < before))
        else:
            cells.append(Cell(write(before), write(after)))
    return Row(title, cells)


def _accuracy(pair: Pair) -> Cell:
    before, after = (variant.get("accuracy") if variant else None for variant in (pair.original, pair.result))
    if before is None or after is None:
        return Cell(words.accuracy(before), words.accuracy(after))
    return Cell(
        words.accuracy(before),
        words.accuracy(after),
        words.points(before, after),
        None if after == before else after > before,
    )


def _energies(found: Sequence[Pair], shape: str) -> Row:
    """Compare joules of one kind; the title says which, or where there are several, each number."""
    both = [[entry_at(variant, shape).get("energy") for variant in (pair.original, pair.result)] for pair in found]
    kinds = {each["kind"] for pair in both for each in pair if each and each["net_j"] is not None}
    if len(kinds) != 1:
        return Row(f"energy, {shape}", [_energy(before, after, words.energy) for before, after in both])
    return Row(f"energy {kinds.pop()}, {shape}", [_energy(before, after, words.joules) for before, after in both])


def _energy(before: Facts | None, after: Facts | None, write: Callable[[Facts | None], str]) -> Cell:
    texts = write(before), write(after)
    if not before or not after or not joules.are_alike(before, after):
        return Cell(*texts)
    return Cell(*texts, words.times(before["net_j"], after["net_j"], "less", "more"), after["net_j"] < before["net_j"])


def _without_unavailable(table: list[Row]) -> list[Row]:
    """Leave out the shapes that have no energy at all; if none has any, say so once."""
    energies = [row for row in table if row.title.startswith("energy")]
    known = [row for row in energies if any({cell.before, cell.after} != {words.UNAVAILABLE} for cell in row.cells)]
    rest = [row for row in table if row not in energies]
    return [*rest, *(known or [Row("energy", row.cells) for row in energies[:1]])]


def shapes(variants: Iterable[Facts], has: Callable[[Facts], bool] = bool) -> list[str]:
    """List everything that was measured, or that has something of it: batch, length and threads."""
    entries = (entry for variant in variants for entry in variant["bench"])
    return list(dict.fromkeys(words.shape(entry) for entry in entries if has(entry)))


def _of(key: str) -> Callable[[Facts], float | None]:
    return lambda variant: variant.get(key)


def _at(shape: str, key: str) -> Callable[[Facts], float | None]:
    return lambda variant: entry_at(variant, shape).get(key)


def entry_at(variant: Facts | None, shape: str) -> Facts:
    """Find what was measured on a file at a shape; nothing where it was not."""
    entries: Iterator[Facts] = iter(variant["bench"] if variant else ())
    return next((entry for entry in entries if words.shape(entry) == shape), {})


def _last(variants: Sequence[Facts], kind: str) -> Facts | None:
    return next((variant for variant in reversed(variants) if variant["kind"] == kind), None)
