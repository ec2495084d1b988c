"""What a terminal shows of a report, a bench or a plan: aligned lines, from the same numbers as the page."""

from collections.abc import Mapping, Sequence
from typing import Any

from compressor.report import compare, words

Facts = Mapping[str, Any]


def aligned(rows: Sequence[Sequence[str]], *, numbers: bool = False) -> str:
    """Lay out rows in columns; numbers stand to the right, the first column never does."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    pad = str.rjust if numbers else str.ljust
    lines = ("  ".join([row[0].ljust(widths[0]), *map(pad, row[1:], widths[1:])]) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def summary(report: Facts) -> str:
    """Show before and after, how the gates stand, and the sentence that sums it up."""
    pairs = compare.pairs(report["variants"])
    header = ["", *(text for pair in pairs for text in (f"original {pair.kind}", f"compressed {pair.kind}", ""))]
    facts = [
        [row.title, *(text for cell in row.cells for text in (cell.before, cell.after, cell.change))]
        for row in compare.rows(pairs)
    ]
    gates = report["gates"] if report["is_measured"] else ()
    verdicts = [f"gate {'met' if found['met'] else 'missed'}: {words.gate(found)}" for found in gates]
    blocks = [aligned([header, *facts], numbers=True) if facts else "", "\n".join(verdicts), *compare.verdict(report)]
    return "\n\n".join(block for block in blocks if block)


def bench(variants: Sequence[Facts]) -> str:
    """Show what was measured of each file, shape by shape."""
    columns = ["MiB", "p50 ms", "p90 ms", "p99 ms", "per second", "J/inference"]
    measured: dict[str, list[list[str]]] = {}
    for variant in variants:
        for entry in variant["bench"]:
            shape = words.shape(entry)
            measured.setdefault(shape, [[shape, *columns]]).append(_measured(variant, entry))
    return "\n\n".join(aligned(rows, numbers=True) for rows in measured.values())


def plan(found: Facts) -> str:
    """Show what a recipe would do: the model, the data, and the size after each stage."""
    model, data = found["model"], found["data"]
    origin = "fine-tuned" if model["is_trained"] else "to be trained"
    lines = [
        f"model: {model['family']}, {model['n_params']:,} parameters, {origin}",
        f"data: {', '.join(f'{n_examples:,} {split}' for split, n_examples in data.items())}",
        "",
    ]
    rows = [[each["stage"], f"{each['n_params']:,}", _ranges(each["widths"])] for each in found["stages"]]
    return "\n".join([*lines, aligned([["stage", "parameters", "widths"], *rows])])


def inventory(found: Facts) -> str:
    """Show what a network or an ONNX file is made of."""
    return _network(found) if found["kind"] == "model" else _graph(found)


def _network(found: Facts) -> str:
    before, now = found["n_params_original"], found["n_params"]
    work = f"{words.count(found['n_flops'])} FLOPs at {words.flops_at(found['flops_at'])}"
    head = (
        f"{found['family']}, {found['class']}: {now:,} parameters{f' of {before:,}' if before != now else ''}, "
        f"{words.mib(found['size_bytes'])}, {work}"
    )
    layers = [
        [each["name"], f"{each['n_params']:,}", words.count(each["n_flops"]), words.mib(each["size_bytes"])]
        for each in found["layers"]
    ]
    widths = [
        [each["name"], f"{each['n_units']:,}", f"{each['n_units_original']:,}", f"{each['n_dead']:,}"]
        for each in found["widths"]
    ]
    tables = [["layer", "parameters", "FLOPs", "size"], *layers], [["width", "units", "originally", "zero"], *widths]
    return "\n\n".join([head, *(aligned(rows, numbers=True) for rows in tables)])


def _graph(found: Facts) -> str:
    opset = ", ".join(f"{domain} {version}" for domain, version in found["opset"].items())
    head = [
        f"ONNX file of {found['producer'] or 'unknown origin'}, opset {opset}: {found['n_params']:,} parameters, "
        f"{words.mib(found['size_bytes'])}, {found['n_nodes']:,} operations"
    ]
    for key in ("inputs", "outputs"):
        declared = (f"{each['name']} {each['type']} {'x'.join(map(str, each['shape']))}" for each in found[key])
        head.append(f"{key}: {', '.join(declared)}")
    layers = [
        [each["name"], f"{each['n_params']:,}", f"{each['n_nodes']:,}", words.mib(each["size_bytes"])]
        for each in found["layers"]
    ]
    operations = [[name, f"{n_nodes:,}"] for name, n_nodes in found["ops"].items()]
    tables = [["layer", "parameters", "operations", "size"], *layers], [["operation", "count"], *operations]
    return "\n\n".join(["\n".join(head), *(aligned(rows, numbers=True) for rows in tables)])


def _measured(variant: Facts, entry: Facts) -> list[str]:
    times = (f"{entry[name]:.3f}" for name in ("p50_ms", "p90_ms", "p99_ms"))
    size, rate = variant["size_bytes"] / words.MIB, entry["throughput_per_s"]
    return [variant["name"], f"{size:.1f}", *times, f"{rate:,.0f}", words.energy(entry["energy"])]


def _ranges(n_units: Mapping[str, int]) -> str:
    """Write `6 x ffn 320-448, 6 x heads 4`: how many widths of each kind there are, and from which size to which."""
    kinds: dict[str, list[int]] = {}
    for name, size in n_units.items():
        kinds.setdefault(name.rpartition(".")[2], []).append(size)
    ends = {kind: sorted({min(sizes), max(sizes)}) for kind, sizes in kinds.items()}
    return ", ".join(f"{len(kinds[kind])} x {kind} {'-'.join(map(str, both))}" for kind, both in ends.items())
