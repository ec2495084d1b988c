"""Before and after: files of one kind side by side, and the sentence that sums them up."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compressor.report import words

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
    for size, shape in {each.partition(",")[0]: each for each in measured}.items():  # threads change no count
        table.append(_row(f"FLOPs, {size}", found, _at(shape, "n_flops"), words.count, ("fewer", "more")))
    table.append(_row("peak memory", found, _of("peak_memory_bytes"), words.mib, ("less", "more")))
    table.append(_row("load time", found, _of("load_ms"), words.ms, ("faster", "slower")))
    for shape in measured:
        table.append(Row(f"energy, {shape}", [_energy(pair, shape) for pair in found]))
    known = [row for row in table if any({cell.before, cell.after} != {words.NONE} for cell in row.cells)]
    return _without_repeated_unavailable(known)


def verdict(report: Facts) -> tuple[str, str]:
    """Sum up a report in one sentence, and say in a second one what stands behind it."""
    found = pairs(report["variants"])
    last = next(((each.original, each.result) for each in reversed(found) if each.original and each.result), None)
    reference = next((pair.original for pair in found if pair.original), None)
    if not report["is_measured"] or last is None or reference is None:
        return _unmeasured(report), "What is known is shown below."
    original, result = last
    lost = round(100 * (reference["accuracy"] - result["accuracy"]), 2)
    price = f"loses {lost:.2f} points" if lost > 0 else f"gains {-lost:.2f} points" if lost < 0 else "keeps all"
    size = words.times(original["size_bytes"], result["size_bytes"], "smaller", "larger")
    size = size.replace(words.SAME, f"{words.SAME} size")
    headline = f"The {result['name']} file is {_speed(original, result)}, {size}, and {price} of accuracy."
    behind = (
        f"Against {original['name']} on the same processor. Accuracy {words.accuracy(result['accuracy'])} against "
        f"{words.accuracy(reference['accuracy'])} of {reference['name']}, on {result['n_examples']:,} examples of "
        f"the {result['split']} split."
    )
    return headline, behind


def _unmeasured(report: Facts) -> str:
    n_done, n_all = len(report["stages"]), len(report["recipe"]["stages"])
    if n_done == 0:
        return "This run has not finished a stage yet."
    if n_done < n_all:
        return f"This run stopped after {report['stages'][-1]['folder']}, {n_done} of {n_all} stages."
    if not any(variant["kind"] == "result" for variant in report["variants"]):
        return "All stages are done; none of them exports a file that could be measured."
    return "All stages are done; nothing has been measured yet."


def _speed(original: Facts, result: Facts) -> str:
    """Say how much faster: one factor, or the range over the measured shapes."""
    before = {words.shape(entry): entry["p50_ms"] for entry in original["bench"]}
    factors = sorted(before[words.shape(entry)] / entry["p50_ms"] for entry in result["bench"])
    least, most = (f"{factor:.1f}" for factor in (factors[0], factors[-1]))
    range_ = least if least == most else f"{least} to {most}"
    return f"{range_}{words.TIMES} faster" if factors[0] >= 1 else f"{range_}{words.TIMES} the speed of the original"


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


def _energy(pair: Pair, shape: str) -> Cell:
    """Compare joules of one kind only; two kinds say nothing about each other."""
    before, after = (entry_at(variant, shape).get("energy") for variant in (pair.original, pair.result))
    texts = words.energy(before), words.energy(after)
    if not before or not after or before["kind"] != after["kind"] or words.UNAVAILABLE in texts:
        return Cell(*texts)
    if min(before["net_j"], after["net_j"]) <= 0:  # lost in the noise of the idle power
        return Cell(*texts)
    return Cell(*texts, words.times(before["net_j"], after["net_j"], "less", "more"), after["net_j"] < before["net_j"])


def _without_repeated_unavailable(table: list[Row]) -> list[Row]:
    """Say once that there is no energy, not once for each shape."""
    energies = [row for row in table if row.title.startswith("energy")]
    texts = {text for row in energies for cell in row.cells for text in (cell.before, cell.after)}
    if texts != {words.UNAVAILABLE}:
        return table
    return [*(row for row in table if row not in energies), Row("energy", energies[0].cells)]


def shapes(variants: Iterable[Facts]) -> list[str]:
    """List everything that was measured: batch, length and threads."""
    return list(dict.fromkeys(words.shape(entry) for variant in variants for entry in variant["bench"]))


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
