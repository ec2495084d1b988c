"""Before and after: files of one precision side by side."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from compressor.bench.result import PRECISIONS, Energy, Entry, Kind, Precision, Variant, entries
from compressor.bench.shape import Shape
from compressor.report import joules, speed, words

Files = tuple[Variant | None, Variant | None]


@dataclass(frozen=True)
class Pair:
    """The original and the result of one precision; None for what there is not."""

    precision: Precision | None
    original: Variant | None
    result: Variant | None

    @property
    def files(self) -> Files:
        """Before and after."""
        return self.original, self.result


@dataclass(frozen=True)
class Cell:
    """One number of a pair."""

    before: str
    after: str
    change: str = ""
    is_better: bool | None = None


@dataclass(frozen=True)
class Row:
    """One number of every pair."""

    title: str
    cells: list[Cell]


def pairs(variants: Sequence[Variant]) -> list[Pair]:
    """Put files of one precision together, fp32 first; like is compared with like."""
    made = []
    for precision in PRECISIONS:
        alike = [variant for variant in variants if variant["precision"] == precision]
        if alike:
            made.append(Pair(precision, _last(alike, "original"), _last(alike, "result")))
    return made


def last_pair(variants: Sequence[Variant]) -> Pair:
    """Give the last result with the original of its precision; an empty pair if there is no result."""
    result = _last(variants, "result")
    empty = Pair(None, None, None)
    return next((pair for pair in pairs(variants) if result and pair.result is result), empty)


def reference(variants: Sequence[Variant]) -> Variant | None:
    """Give the original's fp32 file, whose accuracy counts."""
    return next((pair.original for pair in pairs(variants) if pair.precision == "fp32"), None)


def rows(pairs_: Sequence[Pair]) -> list[Row]:
    """List every number that is known of the pairs; what no file knows is left out."""
    table = [Row("accuracy", [_accuracy(pair) for pair in pairs_])]
    files = [variant for pair in pairs_ for variant in pair.files if variant]
    measured, clock = shapes(files), speed.clock(files)
    for shape in measured:
        table += _times(pairs_, shape, clock)
    table.append(_row("file size", pairs_, lambda file: file["size_bytes"], words.mib, ("smaller", "larger")))
    table.append(_row("parameters", pairs_, lambda file: file.get("n_params"), words.count, ("fewer", "more")))
    for shape in {shape.size: shape for shape in measured}.values():  # threads change no count
        n_flops = _at(shape, lambda entry: entry["n_flops"])
        table.append(_row(f"FLOPs, {words.shape(shape.size)}", pairs_, n_flops, words.count, ("fewer", "more")))
    table.append(_row("peak memory", pairs_, lambda file: file["peak_memory_bytes"], words.mib, ("less", "more")))
    table.append(Row("load time", [_load_time(pair) for pair in pairs_]))
    table += [_energies(pairs_, shape) for shape in measured]
    known = [row for row in table if any({cell.before, cell.after} != {words.NONE} for cell in row.cells)]
    return _without_unavailable(known)


def _row(
    title: str,
    pairs_: Sequence[Pair],
    number: Callable[[Variant], float | None],
    write: Callable[[float | None], str],
    directions: tuple[str, str],
) -> Row:
    """Compare a number that should be small."""
    cells = []
    for pair in pairs_:
        before, after = (number(variant) if variant else None for variant in pair.files)
        if before and after:
            change = words.times(before, after, *directions)
            cells.append(Cell(write(before), write(after), change, None if change == words.SAME else after < before))
        else:
            cells.append(Cell(write(before), write(after)))
    return Row(title, cells)


def _times(pairs_: Sequence[Pair], shape: Shape, clock: speed.Clock) -> list[Row]:
    """Compare times: p50 alone, or where the cores were shared processor time, and then p50 only for itself."""
    both = [(entry_at(pair.original, shape), entry_at(pair.result, shape)) for pair in pairs_]
    times = [Cell(_time(before, clock), _time(after, clock)) for before, after in both]
    compared = [_changed(cell, *ends, clock) for cell, ends in zip(times, both, strict=True)]
    row = Row(f"{clock.title}, {words.shape(shape)}", compared)
    if clock.is_wall:
        return [row]
    marked = [Cell(_marked(before), _marked(after)) for before, after in both]
    return [row, Row(f"{speed.WALL.title}, {words.shape(shape)}", marked)]


def _time(entry: Entry | None, clock: speed.Clock) -> str:
    return words.ms(clock.ms(entry)) if entry else words.NONE


def _marked(entry: Entry | None) -> str:
    return speed.marked(words.ms(entry["p50_ms"])) if entry else words.NONE


def _changed(cell: Cell, before: Entry | None, after: Entry | None, clock: speed.Clock) -> Cell:
    """Say in a cell how much faster the result is."""
    if not before or not after:
        return cell
    factor = clock.factor(before, after)
    is_better = None if factor is None or factor == 1 else factor > 1
    return Cell(cell.before, cell.after, clock.change(before, after), is_better)


def _load_time(pair: Pair) -> Cell:
    before, after = (words.ms(variant["load_ms"]) if variant else words.NONE for variant in pair.files)
    if not pair.original or not pair.result:
        return Cell(before, after)
    change = speed.load_change(pair.original, pair.result)
    is_known = change not in ("", words.SAME)
    return Cell(before, after, change, change.endswith("faster") if is_known else None)


def _accuracy(pair: Pair) -> Cell:
    before, after = (variant.get("accuracy") if variant else None for variant in pair.files)
    if before is None or after is None:
        return Cell(words.accuracy(before), words.accuracy(after))
    return Cell(
        words.accuracy(before),
        words.accuracy(after),
        words.points(before, after),
        None if after == before else after > before,
    )


def _energies(pairs_: Sequence[Pair], shape: Shape) -> Row:
    """Compare joules of one kind; the title says which, or where there are several, each number."""
    at = words.shape(shape)
    both = [(_energy_at(pair.original, shape), _energy_at(pair.result, shape)) for pair in pairs_]
    kinds = {energy["kind"] for ends in both for energy in ends if energy and energy["net_j"] is not None}
    if len(kinds) != 1:
        return Row(f"energy, {at}", [_energy(before, after, words.energy) for before, after in both])
    return Row(f"energy {kinds.pop()}, {at}", [_energy(before, after, words.joules) for before, after in both])


def _energy(before: Energy | None, after: Energy | None, write: Callable[[Energy | None], str]) -> Cell:
    texts = write(before), write(after)
    net = joules.net_pair(before, after) if before and after else None
    if net is None:
        return Cell(*texts)
    return Cell(*texts, words.times(*net, "less", "more"), net[1] < net[0])


def _without_unavailable(table: list[Row]) -> list[Row]:
    """Leave out the shapes that have no energy at all; if none has any, say so once."""
    energies = [row for row in table if row.title.startswith("energy")]
    known = [row for row in energies if any({cell.before, cell.after} != {words.UNAVAILABLE} for cell in row.cells)]
    rest = [row for row in table if row not in energies]
    return [*rest, *(known or [Row("energy", row.cells) for row in energies[:1]])]


def shapes(variants: Iterable[Variant]) -> list[Shape]:
    """List every shape that was measured."""
    return list(dict.fromkeys(Shape.of(entry) for _, entry in entries(variants)))


def is_counted(variants: Iterable[Variant]) -> bool:
    """Tell whether instructions were counted."""
    return any(entry["n_instructions"] is not None for _, entry in entries(variants))


def entry_at(variant: Variant | None, shape: Shape) -> Entry | None:
    """Find what was measured on a file at a shape; None where it was not."""
    measured = variant["bench"] if variant else []
    return next((entry for entry in measured if Shape.of(entry) == shape), None)


def files_at(variants: Sequence[Variant], shape: Shape) -> list[tuple[Variant, Entry]]:
    """List the files that were measured at a shape, with what was measured."""
    return [(variant, entry) for variant in variants if (entry := entry_at(variant, shape))]


def _energy_at(variant: Variant | None, shape: Shape) -> Energy | None:
    entry = entry_at(variant, shape)
    return entry["energy"] if entry else None


def _at(shape: Shape, number: Callable[[Entry], float | None]) -> Callable[[Variant], float | None]:
    def at_shape(variant: Variant) -> float | None:
        entry = entry_at(variant, shape)
        return number(entry) if entry else None

    return at_shape


def _last(variants: Sequence[Variant], kind: Kind) -> Variant | None:
    return next((variant for variant in reversed(variants) if variant["kind"] == kind), None)
