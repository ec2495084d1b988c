"""What a terminal shows of a report, a bench or a plan: aligned lines, from the same numbers as the page."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from compressor.bench.result import Energy, Entry, Host, Result, Variant
from compressor.errors import listed
from compressor.graphs.description import Declared
from compressor.report import compare, dataset, headline, joules, measured, speed, targets, widths, words
from compressor.report.document import RecipePlan, Report
from compressor.report.inventory import GraphInventory, Inventory, NetworkInventory
from compressor.rundir import FactorizedLayer


@dataclass(frozen=True)
class Column:
    """A number of a measured file; left out of the table where no file has it."""

    title: str
    number: Callable[[Variant, Entry], float | None]
    """From the file, and from what was measured of it at one shape."""
    clock: speed.Clock | None = None
    """What it is a time of."""

    def cell(self, variant: Variant, entry: Entry) -> str:
        """Write the number."""
        value = self.number(variant, entry)
        return words.NONE if value is None else words.digits(value)

    def ratio(self, first: tuple[Variant, Entry], other: tuple[Variant, Entry]) -> str:
        """Write the number over that of the first file, or that it is the same within its own spread."""
        before, after = self.number(*first), self.number(*other)
        if not before or after is None:
            return ""
        is_alike = self.clock is not None and self.clock.is_alike(first[1], other[1])
        return SAME if is_alike and before != after else words.digits(after / before)


class LoadColumn(Column):
    """The time to load a file."""

    def ratio(self, first: tuple[Variant, Entry], other: tuple[Variant, Entry]) -> str:
        """Write the number over that of the first file, or that the two overlap."""
        return SAME if speed.loads_alike(first[0], other[0]) else super().ratio(first, other)


GB = 1e9
SAME = "same"  # in place of a ratio that lies within the spread of its numbers


def _mib(n_bytes: float | None) -> float | None:
    return None if n_bytes is None else n_bytes / words.MIB


COLUMNS = (
    Column("MiB", lambda variant, _: _mib(variant["size_bytes"])),
    LoadColumn("load ms", lambda variant, _: variant["load_ms"]),
    Column("peak MiB", lambda variant, _: _mib(variant["peak_memory_bytes"])),
    Column("p50 ms", lambda _, entry: entry["p50_ms"], speed.WALL),
    Column("p90 ms", lambda _, entry: entry["p90_ms"], speed.WALL),
    Column("p99 ms", lambda _, entry: entry["p99_ms"], speed.WALL),
    Column("cpu ms", lambda _, entry: entry["cpu_ms"], speed.PROCESSOR),
    Column("per s", lambda _, entry: entry["throughput_per_s"], speed.WALL),
    Column("M instr", lambda _, entry: None if entry["n_instructions"] is None else entry["n_instructions"] / 1e6),
)


def aligned(rows: Sequence[Sequence[str]], *, numbers: bool = False) -> str:
    """Lay out rows in columns; numbers stand to the right, the first column never does."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    pad = str.rjust if numbers else str.ljust
    lines = ("  ".join([row[0].ljust(widths[0]), *map(pad, row[1:], widths[1:])]) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def summary(report: Report) -> str:
    """Show what was measured, before and after, how the gates stand, and last the sentence that sums it up."""
    pairs = compare.pairs(report["variants"])
    header = [
        "",
        *(text for pair in pairs for text in (f"original {pair.precision}", f"compressed {pair.precision}", "")),
    ]
    cells = [
        [row.title, *(text for cell in row.cells for text in (cell.before, cell.after, cell.change))]
        for row in compare.rows(pairs)
    ]
    verdicts = report["gates"] if report["is_measured"] else []
    limits = [f"gate {words.state(verdict)}: {words.gate(verdict)}" for verdict in verdicts]
    blocks = [
        speed.note(report["variants"]),
        *_tables(report["variants"]),
        _footer(report["environment"]["measured"], report["variants"]),
        aligned([header, *cells], numbers=True) if cells else "",
        "\n".join(targets.line(target) for stage in report["stages"] if (target := stage.get("target"))),
        "\n".join(limits),
        headline.headline(report),
        headline.behind(report),
    ]
    return "\n\n".join(block for block in blocks if block)


def bench(result: Result) -> str:
    """Show the numbers of each file, shape by shape, their ratios to those of the first file, and the machine."""
    whole = measured.completed(result)
    variants = whole["variants"]
    tables = [*_tables(variants, with_ratios=True)] or [_untimed(variants)]
    blocks = [speed.note(variants), *tables, _footer(whole["environment"], variants)]
    return "\n\n".join(block for block in blocks if block)


def plan(plan_: RecipePlan) -> str:
    """Show what a recipe would do: the model, the data, and the size after each stage."""
    model, data = plan_["model"], plan_["data"]
    origin = "fine-tuned" if model["is_trained"] else "to be trained"
    lines = [
        f"model: {model['family']}, {model['n_params']:,} parameters, {origin}",
        f"data: {', '.join(f'{n_examples:,} {split}' for split, n_examples in data.items())}",
        *dataset.lines(plan_["dataset"]),
        *dataset.padding(model["padding_gap"]),
        "",
    ]
    rows = [[stage["stage"], f"{stage['n_params']:,}", _ranges(stage["widths"])] for stage in plan_["stages"]]
    memory, disk = (plan_["needs"][name] / GB for name in ("memory_bytes", "disk_bytes"))
    needed = f"needs about {memory:.1f} GB of memory and {disk:.1f} GB in the run directory"
    fixed = [
        f"{stage['stage']}: {listed(stage['fixed_widths'], most=4)} cannot be cut any more: "
        "factorized layers have no axis for their units"
        for stage in plan_["stages"]
        if stage["stage"] == "factorize" and stage["fixed_widths"]
    ]
    return "\n".join([*lines, aligned([["stage", "parameters", "widths"], *rows]), *fixed, "", needed])


def inventory(inspected: Inventory) -> str:
    """Show what a network or an ONNX file is made of."""
    return _network(inspected) if inspected["kind"] == "model" else _graph(inspected)


def _network(inspected: NetworkInventory) -> str:
    before, now = inspected["n_params_original"], inspected["n_params"]
    head = (
        f"{inspected['family']}, {inspected['class']}: {now:,} parameters{f' of {before:,}' if before != now else ''}, "
        f"{words.mib(inspected['size_bytes'])}, {_work(inspected)}"
    )
    layers = [
        [part["name"], f"{part['n_params']:,}", words.count(part["n_flops"]), words.mib(part["size_bytes"])]
        for part in inspected["layers"]
    ]
    rows_of_widths = [
        [part["name"], f"{part['n_units']:,}", f"{part['n_units_original']:,}", f"{part['n_dead']:,}"]
        for part in inspected["widths"]
    ]
    tables = [
        [["layer", "parameters", "FLOPs", "size"], *layers],
        [["width", "units", "originally", "zero"], *rows_of_widths],
    ]
    if inspected["factorized"]:
        tables.append(
            [["factorized", "method", "rank", "parameters", "dense"], *map(_factors, inspected["factorized"])]
        )
    return "\n\n".join([head, *(aligned(rows, numbers=True) for rows in tables)])


def _factors(layer: FactorizedLayer) -> list[str]:
    rank = " x ".join(map(str, layer["ranks"]))
    return [layer["name"], layer["method"], rank, f"{layer['n_params']:,}", f"{layer['n_params_dense']:,}"]


def _graph(inspected: GraphInventory) -> str:
    opset = ", ".join(f"{domain} {version}" for domain, version in inspected["opset"].items())
    origin = inspected["producer"] or "unknown origin"
    head = [
        f"ONNX file of {origin}, opset {opset}: {inspected['n_params']:,} parameters, "
        f"{words.mib(inspected['size_bytes'])}, {inspected['n_nodes']:,} operations, {_work(inspected)}"
    ]
    head.append(f"inputs: {', '.join(map(_declared, inspected['inputs']))}")
    head.append(f"outputs: {', '.join(map(_declared, inspected['outputs']))}")
    if inspected["max_length"]:
        head.append(f"longest text: {inspected['max_length']:,} tokens")
    layers = [
        [part["name"], f"{part['n_params']:,}", f"{part['n_nodes']:,}", words.mib(part["size_bytes"])]
        for part in inspected["layers"]
    ]
    operations = [[name, f"{n_nodes:,}"] for name, n_nodes in inspected["ops"].items()]
    tables = [["layer", "parameters", "operations", "size"], *layers], [["operation", "count"], *operations]
    return "\n\n".join(["\n".join(head), *(aligned(rows, numbers=True) for rows in tables)])


def _work(inspected: Inventory) -> str:
    n_flops = "unknown" if inspected["n_flops"] is None else words.count(inspected["n_flops"])
    return f"{n_flops} FLOPs at {words.flops_at(inspected['flops_at'])}"


def _declared(value: Declared) -> str:
    """Write name, type and shape, and the bound of the ids where the input takes ids."""
    below = value.get("below")
    bound = f" below {below:,}" if below else ""
    shape = "x".join("?" if size is None else str(size) for size in value["shape"])
    return f"{value['name']} {value['type']} {shape}{bound}"


def _tables(variants: Sequence[Variant], *, with_ratios: bool = False) -> Iterator[str]:
    """Write one table for each shape, under its name and its scenario."""
    is_shared = speed.is_shared(variants)
    for shape in compare.shapes(variants):
        files = compare.files_at(variants, shape)
        columns = [column for column in COLUMNS if any(column.number(*file) is not None for file in files)]
        size, unit = words.scaled(joules.largest(variants, shape, "net_j") or 1.0, "J")
        rows = [["", *(column.title for column in columns), f"{unit}/inference"]]
        for file in files:
            variant, entry = file
            rows.append(
                [
                    variant["name"],
                    *(_cell(column, *file, is_shared) for column in columns),
                    _energy(entry["energy"], size),
                ]
            )
            if with_ratios and file is not files[0]:
                ratios = [
                    "" if is_shared and column.clock is speed.WALL else column.ratio(files[0], file)
                    for column in columns
                ]
                rows.append(["  ratio to the first", *ratios, _energy_ratio(files[0][1]["energy"], entry["energy"])])
        yield f"{words.shape(shape)}, {files[0][1]['scenario']}\n{aligned(rows, numbers=True)}"


def _cell(column: Column, variant: Variant, entry: Entry, is_shared: bool) -> str:
    """Write a number; a wall time is marked where other programs shared the core."""
    cell = column.cell(variant, entry)
    return speed.marked(cell) if is_shared and column.clock is speed.WALL else cell


def _energy(energy: Energy, size: float) -> str:
    """Write joules, or thousandths of them, with their kind."""
    if energy["net_j"] is None:
        return words.UNAVAILABLE
    return f"{words.digits(energy['net_j'] / size)} {energy['kind']}".replace("-", words.MINUS)


def _energy_ratio(before: Energy, after: Energy) -> str:
    net = joules.net_pair(before, after)
    return words.digits(net[1] / net[0]) if net else ""


def _untimed(variants: Sequence[Variant]) -> str:
    """Write what an emulated processor gives: sizes, and whether it computes the same."""
    rows = [["", "MiB", "outputs differ by"]]
    for variant in variants:
        difference = variant["output_difference"]
        rows.append([variant["name"], words.digits(variant["size_bytes"] / words.MIB),
                     words.NONE if difference is None else f"{difference:.2g}"])  # fmt: skip
    return aligned(rows, numbers=True)


def _footer(environment: Host | None, variants: Sequence[Variant]) -> str:
    """Name the machine, say why joules are missing, and what makes them doubtful."""
    said = [("unavailable", remark) for remark in joules.reasons(variants)]
    said += [("warning", remark) for remark in joules.warnings(variants)]
    remarks = (f"energy {what}{f' ({remark.where})' if remark.where else ''}: {remark.text}" for what, remark in said)
    return "\n".join([*([f"on {words.host(environment)}"] if environment else []), *remarks])


def _ranges(n_units: Mapping[str, int]) -> str:
    """Write `6 x ffn 320-448, 6 x heads 4`: how many widths of each kind there are, and from which size to which."""
    kinds: dict[str, list[int]] = {}
    for name, size in n_units.items():
        kinds.setdefault(widths.split(name).what, []).append(size)
    ends = {kind: sorted({min(sizes), max(sizes)}) for kind, sizes in kinds.items()}
    return ", ".join(f"{len(kinds[kind])} x {kind} {'-'.join(map(str, both))}" for kind, both in ends.items())
