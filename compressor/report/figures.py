"""Charts of the page, written as SVG; colours and type come from the page's style sheet."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from compressor.bench.result import Entry, Precision, Variant, entries
from compressor.bench.shape import Shape
from compressor.numerics import binomial
from compressor.report import compare, speed, svg, words
from compressor.report.document import Features, Round

POINT_RADIUS = 5.5
PIXEL = re.compile(r"(.*)_(\d+)_(\d+)")  # as scikit-learn names them: pixel_<row>_<column>
CELL = 20  # side of a drawn pixel
LARGE, SMALL = svg.Canvas(440, 280), svg.Canvas(310, 210)


@dataclass(frozen=True)
class Dot:
    """A file in the chart of accuracy against latency."""

    variant: Variant
    entry: Entry
    accuracy: float

    @property
    def accuracy_range(self) -> tuple[float, float]:
        """95 % interval of a share of right answers; without a number of examples, the share."""
        n_examples = self.variant.get("n_examples")
        if not n_examples:
            return self.accuracy, self.accuracy
        return binomial.interval(round(self.accuracy * n_examples), n_examples)


def accuracy_against_latency(variants: Sequence[Variant]) -> list[str]:
    """Draw one chart for each measured shape: right and up is slow and accurate, left and up is the aim."""
    dots: dict[Shape, list[Dot]] = {}
    for variant, entry in entries(variants):
        accuracy = variant.get("accuracy")
        if accuracy is not None:
            dots.setdefault(Shape.of(entry), []).append(Dot(variant, entry, accuracy))
    bounds = [bound for at_shape in dots.values() for dot in at_shape for bound in dot.accuracy_range]
    clock = speed.clock(variants)
    return [_scatter(words.shape(shape), at_shape, bounds, clock) for shape, at_shape in dots.items()]


def rounds(log: Sequence[Round]) -> list[str]:
    """Draw how zero units, loss and held-out accuracy went, round by round."""
    titled = (("zero units", _zero), ("loss", _loss), ("accuracy, held-out share", _accuracy))
    drawn = []
    for title, number in titled:
        series = [(line["round"] + 1, value) for line in log if (value := number(line)) is not None]
        if len(series) > 1:
            drawn.append(_line(title, series))
    return drawn


def _zero(line: Round) -> float | None:
    n_units = line.get("units")
    return line["dead_units"] / n_units if n_units else None


def _loss(line: Round) -> float | None:
    return line.get("loss")


def _accuracy(line: Round) -> float | None:
    return line.get("accuracy_held_out")


def pixels(features: Features | None) -> str:
    """Draw which pixels are still read, where the features of a table are the pixels of an image; else nothing."""
    matches = [PIXEL.fullmatch(name) for name in features["original"]] if features else []
    places = {match[0]: (int(match[2]), int(match[3])) for match in matches if match}
    n_rows, n_columns = (max((place[axis] for place in places.values()), default=0) + 1 for axis in (0, 1))
    if None in matches or len(set(places.values())) < n_rows * n_columns:
        return ""
    kept = set(features["kept"]) if features else set()
    parts = [
        f'<rect class="{"kept" if name in kept else "gone"}" x="{column * CELL + 1}" y="{row * CELL + 1}" '
        f'width="{CELL - 2}" height="{CELL - 2}" rx="3"><title>{escape(name)}</title></rect>'
        for name, (row, column) in places.items()
    ]
    return svg.drawing(
        svg.Canvas(n_columns * CELL, n_rows * CELL), f"{len(kept)} of {len(places)} pixels are read", parts
    )


def _scatter(title: str, dots: Sequence[Dot], bounds: Sequence[float], clock: speed.Clock) -> str:
    times = [time for dot in dots for time in _ends(dot.entry, clock)]
    x = svg.Axis(min(times) / 1.5, max(times) * 1.5, *LARGE.x_ends, is_log=True)
    y = svg.padded(bounds, LARGE)
    parts = svg.frame(LARGE, x, y, f"{clock.title} in ms at {title}", "accuracy")
    ends = {dot.variant["name"]: (x.at(_ends(dot.entry, clock)[0]), y.at(dot.accuracy)) for dot in dots}
    for pair in compare.pairs([dot.variant for dot in dots]):
        if pair.original and pair.result:
            start, end = ends[pair.original["name"]], ends[pair.result["name"]]
            parts.append(svg.segment(*start, *end, f"path {style_of(pair.precision)}"))
    for dot in dots:
        parts += _point(dot, x, y, clock)
    return svg.drawing(LARGE, f"Accuracy against latency at {title}", parts)


def _ends(entry: Entry, clock: speed.Clock) -> tuple[float, float]:
    """Give the time of a file, and where the line from it ends: at p90, of processor time where it begins."""
    time_ms = clock.ms(entry) or entry["p50_ms"]
    return time_ms, entry["p90_ms"] if clock.is_wall else time_ms


def _point(dot: Dot, x: svg.Axis, y: svg.Axis, clock: speed.Clock) -> list[str]:
    """Draw a file: hollow for the original, with the 95 % interval of its accuracy and p90 to the right."""
    variant, (time_ms, far_ms) = dot.variant, _ends(dot.entry, clock)
    across, up = x.at(time_ms), y.at(dot.accuracy)
    low, high = dot.accuracy_range
    style = style_of(variant["precision"])
    share = (across - x.start) / (x.end - x.start)
    anchor = "start" if share < 0.25 else "end" if share > 0.75 else "middle"
    beside = up + (-POINT_RADIUS - 6 if variant["precision"] == "fp32" else POINT_RADIUS + 14)
    tip = f"{variant['name']}: {clock.title} {words.ms(time_ms)}, accuracy {words.accuracy(dot.accuracy)}"
    return [
        svg.segment(across, y.at(low), across, y.at(high), f"whisker {style}"),
        svg.segment(across, up, x.at(far_ms), up, f"whisker {style}"),
        f'<circle class="point {style} {variant["kind"]}" cx="{across:.1f}" cy="{up:.1f}" r="{POINT_RADIUS}">'
        f"<title>{escape(tip)}</title></circle>",
        svg.text(across, beside, variant["name"], f"label {anchor}"),
    ]


def _line(title: str, series: Sequence[tuple[float, float]]) -> str:
    x = svg.Axis(series[0][0] - 0.3, series[-1][0] + 0.3, *SMALL.x_ends, is_whole=True)
    y = svg.padded([value for _, value in series], SMALL)
    dots = [(x.at(number), y.at(value)) for number, value in series]
    path = " ".join(f"{across:.1f},{up:.1f}" for across, up in dots)
    parts = [*svg.frame(SMALL, x, y, "round", title), f'<polyline class="line" points="{path}"/>']
    parts += [f'<circle class="dot" cx="{across:.1f}" cy="{up:.1f}" r="3"/>' for across, up in dots]
    return svg.drawing(SMALL, title, parts)


def style_of(precision: Precision | None) -> str:
    """Class of what belongs to a precision; it decides the colour."""
    return precision or "unknown"
