"""Charts of numbers with their spread, a row for each file: latency by shape, joules by shape and kind."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from compressor.report import compare, figures, svg, words

Facts = Mapping[str, Any]
WIDTH, LEFT, RIGHT = 440, 124, 66  # names stand to the left, numbers to the right
ROW, TOP, BOTTOM = 25, 34, 44
CAP = 4
DOT_RADIUS = 4.5


@dataclass(frozen=True)
class Row:
    """A file in a chart."""

    variant: Facts
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


def latency(variants: Sequence[Facts]) -> list[str]:
    """Draw a chart for each shape: a dot at p50, a thick line to p90, a thin one to p99."""
    drawn = []
    for shape in compare.shapes(variants):
        files = [(each, entry) for each in variants if (entry := compare.entry_at(each, shape))]
        times = [entry[key] for _, entry in files for key in ("p50_ms", "p99_ms")]
        x = svg.Axis(min(times) / 1.1, max(times) * 1.05, LEFT, WIDTH - RIGHT, is_log=True)
        title = f"{shape}, {files[0][1]['scenario']}"
        drawn.append(_chart(title, "p50, ms", "ms, logarithmic", [_times(*file) for file in files], x))
    return drawn


def energy(variants: Sequence[Facts]) -> list[str]:
    """Draw a chart for each shape and each kind of joules: net J/inference and its 95 % interval.

    Different kinds, and different meters, never share a chart.
    """
    charts: dict[tuple[str, str], list[tuple[Facts, Facts]]] = {}
    for shape in compare.shapes(variants):
        for variant in variants:
            found = compare.entry_at(variant, shape).get("energy")
            if found and found["net_j"] is not None:
                charts.setdefault((shape, f"{found['kind']}, {found['meter']}"), []).append((variant, found))
    return [_energies(f"{shape}: {kind}", files) for (shape, kind), files in charts.items()]


def _times(variant: Facts, entry: Facts) -> Row:
    p50, p90, p99 = (entry[key] for key in ("p50_ms", "p90_ms", "p99_ms"))
    return Row(variant, p50, (p50, p90), (p50, p99))


def _energies(title: str, files: Sequence[tuple[Facts, Facts]]) -> str:
    known = [(variant, found["net_j"], *_interval(found)) for variant, found in files]
    low, high = min(0.0, *(each[2] for each in known)), max(0.0, *(each[3] for each in known))
    size, unit = words.scaled(max(high, -low), "J")
    x = svg.Axis(low / size, (high + 0.05 * (high - low)) / size or 1.0, LEFT, WIDTH - RIGHT)
    kind = files[0][1]["kind"]
    rows = [
        Row(variant, net / size, (net / size, net / size), (least / size, most / size), kind == "measured")
        for variant, net, least, most in known
    ]
    return _chart(title, unit, f"{unit}/inference above idle, {kind}", rows, x)


def _interval(found: Facts) -> tuple[float, float]:
    net_j: float = found["net_j"]
    return (net_j, net_j) if found["low"] is None else (found["low"], found["high"])


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
    color, across = figures.kind_of(row.variant["quantized"]), x.at(row.center)
    far = f"far {color}{'' if row.is_solid else ' guess'}"
    (near_start, near_end), (start, end) = (map(x.at, bounds) for bounds in (row.thick, row.thin))
    caps = [svg.segment(each, y - CAP, each, y + CAP, far) for each in (start, end) if each != across]
    return [
        svg.text(12, y + 4, row.variant["name"], "label start"),
        svg.segment(start, y, end, y, far),
        *caps,
        svg.segment(near_start, y, near_end, y, f"near {color}"),
        f'<circle class="point {color} {row.variant["kind"]}" cx="{across:.1f}" cy="{y:.1f}" r="{DOT_RADIUS}">'
        f"<title>{escape(row.variant['name'])}: {escape(row.label)}</title></circle>",
        svg.text(WIDTH - 12, y + 4, row.label, "label end"),
    ]
