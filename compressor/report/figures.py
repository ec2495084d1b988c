"""Charts of the page, written as SVG; colours and type come from the page's style sheet."""

import re
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Any

from compressor.numerics import binomial
from compressor.report import svg, words

POINT_RADIUS = 5.5
PIXEL = re.compile(r"(.*)_(\d+)_(\d+)")  # as scikit-learn names them: pixel_<row>_<column>
CELL = 20  # side of a drawn pixel
LARGE, SMALL = svg.Canvas(440, 280), svg.Canvas(310, 210)

Facts = Mapping[str, Any]


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
    return svg.drawing(
        svg.Canvas(n_columns * CELL, n_rows * CELL), f"{len(kept)} of {len(places)} pixels are read", parts
    )


def _scatter(title: str, found: Sequence[tuple[Facts, Facts]], bounds: Sequence[float]) -> str:
    times = [entry[key] for _, entry in found for key in ("p50_ms", "p90_ms")]
    x = svg.Axis(min(times) / 1.5, max(times) * 1.5, *LARGE.x_ends, is_log=True)
    y = svg.padded(bounds, LARGE)
    parts = svg.frame(LARGE, x, y, f"p50 in ms at {title}", "accuracy")
    by_kind: dict[bool, list[tuple[float, float]]] = {}
    for variant, entry in found:
        by_kind.setdefault(variant["quantized"], []).append((x.at(entry["p50_ms"]), y.at(variant["accuracy"])))
    for is_quantized, ends in by_kind.items():
        parts += [svg.segment(*start, *end, f"path {kind_of(is_quantized)}") for start, end in pairwise(ends)]
    for variant, entry in found:
        parts += _point(variant, entry, x, y)
    return svg.drawing(LARGE, f"Accuracy against latency at {title}", parts)


def _point(variant: Facts, entry: Facts, x: svg.Axis, y: svg.Axis) -> list[str]:
    """Draw a file: hollow for the original, with the 95 % interval of its accuracy and p90 to the right."""
    across, up = x.at(entry["p50_ms"]), y.at(variant["accuracy"])
    low, high = _accuracy_range(variant)
    color = kind_of(variant["quantized"])
    share = (across - x.start) / (x.end - x.start)
    anchor = "start" if share < 0.25 else "end" if share > 0.75 else "middle"
    beside = up + (POINT_RADIUS + 14 if variant["quantized"] else -POINT_RADIUS - 6)
    tip = f"{variant['name']}: p50 {words.ms(entry['p50_ms'])}, accuracy {words.accuracy(variant['accuracy'])}"
    return [
        svg.segment(across, y.at(low), across, y.at(high), f"whisker {color}"),
        svg.segment(across, up, x.at(entry["p90_ms"]), up, f"whisker {color}"),
        f'<circle class="point {color} {variant["kind"]}" cx="{across:.1f}" cy="{up:.1f}" r="{POINT_RADIUS}">'
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


def _accuracy_range(variant: Facts) -> tuple[float, float]:
    """95 % interval of a share of right answers; without a number of examples, the share."""
    value, n_examples = variant["accuracy"], variant.get("n_examples")
    return binomial.interval(round(value * n_examples), n_examples) if n_examples else (value, value)


def kind_of(is_quantized: bool) -> str:
    """Class of what belongs to a kind of file; it decides the colour."""
    return "int8" if is_quantized else "fp32"
