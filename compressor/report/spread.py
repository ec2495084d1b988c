"""Charts of numbers with their spread, a row for each file: latency by shape, joules by shape and kind."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from compressor.bench.result import Energy, Entry, Variant
from compressor.bench.shape import Shape
from compressor.report import compare, figures, speed, svg, words

WIDTH, LEFT, RIGHT = 440, 124, 66  # names stand to the left, numbers to the right
ROW, TOP, BOTTOM = 25, 34, 44
CAP = 4
DOT_RADIUS = 4.5


@dataclass(frozen=True)
class Row:
    """A file in a chart."""

    variant: Variant
    center: float
    thick: tuple[float, float]
    """Where most of it lies."""
    thin: tuple[float, float]
    """Where nearly all of it lies, marked at its ends."""
    is_solid: bool = True

    @property
    def label(self) -> str:
        """The number, whose unit stands above."""
        return words.digits(self.center).replace("-", words.MINUS)


@dataclass(frozen=True)
class Metered:
    """A file with joules."""

    variant: Variant
    energy: Energy
    net_j: float

    @property
    def interval(self) -> tuple[float, float]:
        """Bounds of the joules; without any, the joules themselves."""
        low, high = self.energy["low"], self.energy["high"]
        return (self.net_j, self.net_j) if low is None or high is None else (low, high)


def latency(variants: Sequence[Variant]) -> list[str]:
    """Draw a chart for each shape: a dot at p50, a thick line to p90, a thin one to p99.

    Where other programs shared the core, the dot is at the processor time, and the lines span that of the blocks.
    """
    drawn, clock = [], speed.clock(variants)
    for shape in compare.shapes(variants):
        files = compare.files_at(variants, shape)
        rows = [_times(*file, clock) for file in files]
        times = [time for row in rows for time in row.thin]
        x = svg.Axis(min(times) / 1.1, max(times) * 1.05, LEFT, WIDTH - RIGHT, is_log=True)
        title = f"{words.shape(shape)}, {files[0][1]['scenario']}"
        drawn.append(_chart(title, f"{clock.title}, ms", "ms, logarithmic", rows, x))
    return drawn


def energy(variants: Sequence[Variant]) -> list[str]:
    """Draw a chart for each shape and each kind of joules: net J/inference and its 95 % interval.

    Different kinds, and different meters, never share a chart.
    """
    charts: dict[tuple[Shape, str], list[Metered]] = {}
    for shape in compare.shapes(variants):
        for variant, entry in compare.files_at(variants, shape):
            energy_, net_j = entry["energy"], entry["energy"]["net_j"]
            if net_j is not None:
                kind = f"{energy_['kind']}, {energy_['meter']}"
                charts.setdefault((shape, kind), []).append(Metered(variant, energy_, net_j))
    return [_energies(f"{words.shape(shape)}: {kind}", files) for (shape, kind), files in charts.items()]


def _times(variant: Variant, entry: Entry, clock: speed.Clock) -> Row:
    if not clock.is_wall:
        cpu_ms = clock.ms(entry) or entry["p50_ms"]
        blocks_ms = [cpu_ms, *clock.blocks_ms(entry)]
        return Row(variant, cpu_ms, (cpu_ms, cpu_ms), (min(blocks_ms), max(blocks_ms)))
    p50, p90, p99 = entry["p50_ms"], entry["p90_ms"], entry["p99_ms"]
    return Row(variant, p50, (p50, p90), (p50, p99))


def _energies(title: str, files: Sequence[Metered]) -> str:
    low, high = min(0.0, *(file.interval[0] for file in files)), max(0.0, *(file.interval[1] for file in files))
    size, unit = words.scaled(max(high, -low), "J")
    x = svg.Axis(low / size, (high + 0.05 * (high - low)) / size or 1.0, LEFT, WIDTH - RIGHT)
    kind = files[0].energy["kind"]
    rows = []
    for file in files:
        net, (least, most) = file.net_j / size, file.interval
        rows.append(Row(file.variant, net, (net, net), (least / size, most / size), kind == "measured"))
    return _chart(title, unit, f"{unit}/inference above idle, {kind}", rows, x)


def _chart(title: str, unit: str, x_title: str, rows: Sequence[Row], x: svg.Axis) -> str:
    """Draw a title, a grid, and a row for each file."""
    bottom = TOP + len(rows) * ROW
    canvas = svg.Canvas(WIDTH, bottom + BOTTOM)
    parts = [svg.text(12, 20, title, "head start"), svg.text(WIDTH - 12, 20, unit, "title end")]
    for tick in x.ticks():
        parts.append(svg.segment(x.at(tick), TOP, x.at(tick), bottom, "grid"))
        parts.append(svg.text(x.at(tick), bottom + 17, f"{tick:g}", "tick middle"))
    parts.append(svg.segment(LEFT, bottom, WIDTH - RIGHT, bottom, "axis"))
    parts.append(svg.text((LEFT + WIDTH - RIGHT) / 2, bottom + BOTTOM - 9, x_title, "title middle"))
    for index, row in enumerate(rows):
        parts += _row(row, TOP + (index + 0.5) * ROW, x)
    spoken = ", ".join(f"{row.variant['name']} {row.label}" for row in rows)
    return svg.drawing(canvas, f"{title}, {x_title}: {spoken}", parts)


def _row(row: Row, y: float, x: svg.Axis) -> list[str]:
    """Draw a file: hollow for the original; lines are dashed where nothing was measured."""
    color, across = figures.style_of(row.variant["precision"]), x.at(row.center)
    far = f"far {color}{'' if row.is_solid else ' guess'}"
    (near_start, near_end), (start, end) = (map(x.at, bounds) for bounds in (row.thick, row.thin))
    caps = [svg.segment(x_end, y - CAP, x_end, y + CAP, far) for x_end in (start, end) if x_end != across]
    return [
        svg.text(12, y + 4, row.variant["name"], "label start"),
        svg.segment(start, y, end, y, far),
        *caps,
        svg.segment(near_start, y, near_end, y, f"near {color}"),
        f'<circle class="point {color} {row.variant["kind"]}" cx="{across:.1f}" cy="{y:.1f}" r="{DOT_RADIUS}">'
        f"<title>{escape(row.variant['name'])}: {escape(row.label)}</title></circle>",
        svg.text(WIDTH - 12, y + 4, row.label, "label end"),
    ]
