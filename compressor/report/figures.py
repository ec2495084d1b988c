"""Charts of the page, written as SVG; colours and type come from the page's style sheet."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Any

from compressor.report import words

N_TICKS = 5
POINT_RADIUS = 5.5
PIXEL = re.compile(r"(.*)_(\d+)_(\d+)")  # as scikit-learn names them: pixel_<row>_<column>
CELL = 20  # side of a drawn pixel

Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Canvas:
    """Size of a chart in pixels, and the part of it that holds the data."""

    width: int
    height: int
    left: int = 52
    right: int = 18
    top: int = 28
    bottom: int = 46

    @property
    def x_ends(self) -> tuple[int, int]:
        """Left and right end of the data."""
        return self.left, self.width - self.right

    @property
    def y_ends(self) -> tuple[int, int]:
        """Lower and upper end of the data."""
        return self.height - self.bottom, self.top


LARGE, SMALL = Canvas(440, 280), Canvas(310, 210)


@dataclass(frozen=True)
class Axis:
    """A range of numbers laid along one side of a chart, in pixels."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False
    is_whole: bool = False
    """Ticks stand at whole numbers only."""

    def at(self, value: float) -> float:
        """Pixel of a number."""
        low, high, value = (math.log(x) if self.is_log else x for x in (self.low, self.high, value))
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round numbers within the range: 1, 2 and 5 times a power of ten on a logarithmic axis."""
        if self.is_log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            found = [digit * 10.0**power for power in decades for digit in (1, 2, 5)]
            found = [value for value in found if self.low <= value <= self.high]
            if len(found) > 1:
                return found
        raw = max((self.high - self.low) / N_TICKS, float(self.is_whole))
        unit = 10.0 ** math.floor(math.log10(raw))
        step = next(digit * unit for digit in (1, 2, 5, 10) if digit * unit >= raw * (1 - 1e-9))
        first = math.ceil(self.low / step - 1e-9)
        return [n * step for n in range(first, math.floor(self.high / step + 1e-9) + 1)]


def accuracy_against_latency(variants: Sequence[Facts]) -> list[str]:
    """Draw one chart for each measured shape: right and up is slow and accurate, left and up is the aim."""
    known = [variant for variant in variants if variant.get("accuracy") is not None]
    entries = [(words.shape(entry), variant, entry) for variant in known for entry in variant["bench"]]
    if not entries:
        return []
    bounds = [bound for variant in known for bound in _accuracy_range(variant)]
    titles = dict.fromkeys(title for title, _, _ in entries)
    return [
        _scatter(title, [(variant, entry) for other, variant, entry in entries if other == title], bounds)
        for title in titles
    ]


def rounds(log: Sequence[Facts]) -> list[str]:
    """Draw how zero units, loss and held-out accuracy went, round by round."""
    shares = [{**line, "zero": line["dead_units"] / line["units"]} if line.get("units") else line for line in log]
    drawn = []
    for key, title in (("zero", "zero units"), ("loss", "loss"), ("accuracy_held_out", "accuracy, held-out share")):
        series = [(line["round"] + 1, line[key]) for line in shares if line.get(key) is not None]
        if len(series) > 1:
            drawn.append(_line(title, series))
    return drawn


def pixels(features: Facts | None) -> str:
    """Draw which pixels are still read, where the features of a table are the pixels of an image; else nothing."""
    found = [PIXEL.fullmatch(name) for name in features["original"]] if features else []
    places = {match[0]: (int(match[2]), int(match[3])) for match in found if match}
    n_rows, n_columns = (max((place[axis] for place in places.values()), default=0) + 1 for axis in (0, 1))
    if None in found or len(set(places.values())) < n_rows * n_columns:
        return ""
    kept = set(features["kept"]) if features else set()
    parts = [
        f'<rect class="{"kept" if name in kept else "gone"}" x="{column * CELL + 1}" y="{row * CELL + 1}" '
        f'width="{CELL - 2}" height="{CELL - 2}" rx="3"><title>{escape(name)}</title></rect>'
        for name, (row, column) in places.items()
    ]
    return _svg(Canvas(n_columns * CELL, n_rows * CELL), f"{len(kept)} of {len(places)} pixels are read", parts)


def _scatter(title: str, found: Sequence[tuple[Facts, Facts]], bounds: Sequence[float]) -> str:
    times = [entry[key] for _, entry in found for key in ("p50_ms", "p90_ms")]
    x = Axis(min(times) / 1.5, max(times) * 1.5, *LARGE.x_ends, is_log=True)
    y = _padded(bounds, LARGE)
    parts = _frame(LARGE, x, y, f"p50 in ms at {title}", "accuracy")
    by_kind: dict[bool, list[tuple[float, float]]] = {}
    for variant, entry in found:
        by_kind.setdefault(variant["quantized"], []).append((x.at(entry["p50_ms"]), y.at(variant["accuracy"])))
    for is_quantized, ends in by_kind.items():
        parts += [_segment(*start, *end, f"path {_color(is_quantized)}") for start, end in pairwise(ends)]
    for variant, entry in found:
        parts += _point(variant, entry, x, y)
    return _svg(LARGE, f"Accuracy against latency at {title}", parts)


def _point(variant: Facts, entry: Facts, x: Axis, y: Axis) -> list[str]:
    """Draw a file: hollow for the original, with one standard error up and down and p90 to the right."""
    across, up = x.at(entry["p50_ms"]), y.at(variant["accuracy"])
    low, high = _accuracy_range(variant)
    color = _color(variant["quantized"])
    share = (across - x.start) / (x.end - x.start)
    anchor = "start" if share < 0.25 else "end" if share > 0.75 else "middle"
    beside = up + (POINT_RADIUS + 14 if variant["quantized"] else -POINT_RADIUS - 6)
    tip = f"{variant['name']}: p50 {words.ms(entry['p50_ms'])}, accuracy {words.accuracy(variant['accuracy'])}"
    return [
        _segment(across, y.at(low), across, y.at(high), f"whisker {color}"),
        _segment(across, up, x.at(entry["p90_ms"]), up, f"whisker {color}"),
        f'<circle class="point {color} {variant["kind"]}" cx="{across:.1f}" cy="{up:.1f}" r="{POINT_RADIUS}">'
        f"<title>{escape(tip)}</title></circle>",
        _text(across, beside, variant["name"], f"label {anchor}"),
    ]


def _line(title: str, series: Sequence[tuple[float, float]]) -> str:
    x = Axis(series[0][0] - 0.3, series[-1][0] + 0.3, *SMALL.x_ends, is_whole=True)
    y = _padded([value for _, value in series], SMALL)
    dots = [(x.at(number), y.at(value)) for number, value in series]
    path = " ".join(f"{across:.1f},{up:.1f}" for across, up in dots)
    parts = [*_frame(SMALL, x, y, "round", title), f'<polyline class="line" points="{path}"/>']
    parts += [f'<circle class="dot" cx="{across:.1f}" cy="{up:.1f}" r="3"/>' for across, up in dots]
    return _svg(SMALL, title, parts)


def _frame(canvas: Canvas, x: Axis, y: Axis, x_title: str, y_title: str) -> list[str]:
    """Draw grid lines, ticks and titles."""
    (left, right), (bottom, _) = canvas.x_ends, canvas.y_ends
    parts = [_segment(left, bottom, right, bottom, "axis")]
    for value in y.ticks():
        parts.append(_segment(left, y.at(value), right, y.at(value), "grid"))
        parts.append(_text(left - 8, y.at(value) + 4, f"{value:g}", "tick end"))
    for value in x.ticks():
        parts.append(_segment(x.at(value), bottom, x.at(value), bottom + 4, "axis"))
        parts.append(_text(x.at(value), bottom + 18, f"{value:g}", "tick middle"))
    parts.append(_text((left + right) / 2, canvas.height - 8, x_title, "title middle"))
    parts.append(_text(left, canvas.top - 14, y_title, "title start"))
    return parts


def _padded(values: Sequence[float], canvas: Canvas) -> Axis:
    """Make a vertical axis with some air, also where all values are equal."""
    low, high = min(values), max(values)
    margin = 0.15 * (high - low) or 0.01 * abs(high) or 0.01
    return Axis(low - margin, high + margin, *canvas.y_ends)


def _accuracy_range(variant: Facts) -> tuple[float, float]:
    """One standard error of a share of right answers, down and up."""
    value, n_examples = variant["accuracy"], variant.get("n_examples")
    error = math.sqrt(value * (1 - value) / n_examples) if n_examples else 0.0
    return value - error, value + error


def _color(is_quantized: bool) -> str:
    return "int8" if is_quantized else "fp32"


def _segment(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return f'<line class="{style}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, style: str) -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _svg(canvas: Canvas, label: str, parts: Iterable[str]) -> str:
    box = f"0 0 {canvas.width} {canvas.height}"
    return f'<svg viewBox="{box}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'
