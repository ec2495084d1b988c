"""What a terminal shows of a report or a plan: aligned lines, from the same numbers as the page."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

MIB = 2**20
Facts = Mapping[str, Any]


def aligned(rows: Sequence[Sequence[str]], *, numbers: bool = False) -> str:
    """Lay out rows in columns; numbers stand to the right, the first column never does."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    pad = str.rjust if numbers else str.ljust
    lines = ("  ".join([row[0].ljust(widths[0]), *map(pad, row[1:], widths[1:])]) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def variants(found: Sequence[Facts]) -> str:
    """Compare the measured files, each result also with the original of its kind."""
    points = list(dict.fromkeys(_point(entry) for variant in found for entry in variant["bench"]))
    header = ["", "accuracy", "MiB", "parameters", *(f"p50 ms {point}" for point in points)]
    table = aligned([header, *(_row(variant, points) for variant in found)], numbers=True)
    return "\n".join([table, "", *_ratios(found)]).rstrip()


def plan(found: Mapping[str, Any]) -> str:
    """Show what a recipe would do: the model, the data, and the size after each stage."""
    groups = [
        f"{group}: {', '.join(f'{key} {value}' for key, value in found[group].items())}" for group in ("model", "data")
    ]
    rows = [[each["stage"], f"{each['n_params']:,}", _widths(each["widths"])] for each in found["stages"]]
    return "\n".join([*groups, "", aligned([["stage", "parameters", "widths"], *rows])])


def _row(variant: Facts, points: Sequence[str]) -> list[str]:
    p50 = {_point(entry): f"{entry['p50_ms']:.2f}" for entry in variant["bench"]}
    accuracy, n_params = variant["accuracy"], variant["n_params"]
    return [
        variant["name"],
        "-" if accuracy is None else f"{accuracy:.4f}",
        f"{variant['size_bytes'] / MIB:.1f}",
        "-" if n_params is None else f"{n_params:,}",
        *(p50.get(point, "-") for point in points),
    ]


def _ratios(found: Sequence[Facts]) -> Iterator[str]:
    originals = {variant["quantized"]: variant for variant in found if variant["kind"] == "original"}
    for variant in found:
        original = originals.get(variant["quantized"])
        if variant["kind"] == "original" or original is None:
            continue
        before = {_point(entry): entry["p50_ms"] for entry in original["bench"]}
        faster = [f"{before[_point(entry)] / entry['p50_ms']:.2f}x at {_point(entry)}" for entry in variant["bench"]]
        smaller = f"{original['size_bytes'] / variant['size_bytes']:.2f}x smaller"
        yield f"{variant['name']} over {original['name']}: faster {', '.join(faster)}; {smaller}"


def _point(entry: Facts) -> str:
    shape = f"{entry['batch_size']}x{entry['length']}" if entry["length"] else f"batch {entry['batch_size']}"
    return shape if entry["threads"] == 1 else f"{shape} on {entry['threads']} threads"


def _widths(n_units: Mapping[str, int]) -> str:
    """Write `ffn 320-448, heads 4`: the range of each kind over all layers."""
    kinds: dict[str, list[int]] = {}
    for name, size in n_units.items():
        kinds.setdefault(name.rpartition(".")[2], []).append(size)
    ranges = {kind: sorted({min(sizes), max(sizes)}) for kind, sizes in kinds.items()}
    return ", ".join(f"{kind} {'-'.join(map(str, ends))}" for kind, ends in ranges.items())
