"""Charts of a comparison: accuracy against time and size, errors against parameters; a line for each method."""

from collections.abc import Callable, Sequence
from html import escape

from compressor.bench.shape import Shape
from compressor.report import svg, words
from compressor.report.comparison import DENSE, Comparison, Row, name
from compressor.report.comparison_table import shapes

CANVAS = svg.Canvas(440, 280)
N_STYLES = 8  # classes m0 to m7 of the page's style sheet
RADIUS = 4.5
Number = Callable[[Row], float | None]
Point = tuple[float, float, Row]


def methods(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """List the methods with the class that decides their colour."""
    found = dict.fromkeys(row["method"] for row in rows if row["method"] != DENSE)
    return [(method, f"m{index % N_STYLES}") for index, method in enumerate(found)]


def charts(comparison: Comparison) -> list[str]:
    """Draw accuracy against the time at each shape and against bytes, and both errors against parameters."""
    rows, drawn = comparison["rows"], []
    for shape in shapes(rows):
        title = f"time at {words.shape(Shape.parse(shape))} over dense fp32"
        drawn.append(_chart(rows, title, _time_at(shape), "accuracy", _accuracy))
    drawn.append(_chart(rows, "MiB", _mib, "accuracy", _accuracy))
    drawn.append(_chart(rows, "parameters in millions", _millions, "output error", _output_error))
    drawn.append(_chart(rows, "parameters in millions", _millions, "weight error", _weight_error))
    return [chart for chart in drawn if chart]


def _accuracy(row: Row) -> float | None:
    return row["accuracy"]


def _output_error(row: Row) -> float | None:
    return row["output_error"]


def _weight_error(row: Row) -> float | None:
    return row["weight_error"]


def _mib(row: Row) -> float | None:
    return None if row["size_bytes"] is None else row["size_bytes"] / words.MIB


def _millions(row: Row) -> float | None:
    return None if row["n_params"] is None else row["n_params"] / 1e6


def _time_at(shape: str) -> Number:
    def time(row: Row) -> float | None:
        return next((each["ratio"] for each in row["speeds"] if each["shape"] == shape), None)

    return time


def _chart(rows: Sequence[Row], x_title: str, x_of: Number, y_title: str, y_of: Number) -> str:
    """Draw a point for each row; nothing if no row has both numbers."""
    points: list[Point] = []
    for row in rows:
        across, up = x_of(row), y_of(row)
        if across is not None and up is not None:
            points.append((across, up, row))
    if not points:
        return ""
    values = [across for across, _, _ in points]
    x = svg.Axis(min(values) / 1.15, max(values) * 1.15, *CANVAS.x_ends, is_log=True)
    y = svg.padded([up for _, up, _ in points], CANVAS)
    parts = svg.frame(CANVAS, x, y, x_title, y_title)
    for method, style in methods(rows):
        own = [(x.at(across), y.at(up)) for across, up, row in sorted(points, key=_across) if row["method"] == method]
        line = " ".join(f"{across:.1f},{up:.1f}" for across, up in own)
        parts.append(f'<polyline class="series {style}" points="{line}"/>')
    styles = dict(methods(rows))
    parts += [part for point in points for part in _drawn(point, x, y, styles)]
    return svg.drawing(CANVAS, f"{y_title} against {x_title}", parts)


def _across(point: Point) -> float:
    return point[0]


def _drawn(point: Point, x: svg.Axis, y: svg.Axis, styles: dict[str, str]) -> list[str]:
    """Draw a point: hollow, with its name, for the dense network."""
    across, up, row = point
    title, is_dense = name(row["method"], row["precision"], row["budget"]), row["method"] == DENSE
    style = f"{row['precision']} original" if is_dense else styles[row["method"]]
    tip = escape(f"{title}: {words.digits(across)}, {words.digits(up)}")
    parts = [
        f'<circle class="point {style}" cx="{x.at(across):.1f}" cy="{y.at(up):.1f}" r="{RADIUS}">'
        f"<title>{tip}</title></circle>"
    ]
    if is_dense:
        is_right = x.at(across) > (x.start + x.end) / 2
        parts.append(svg.text(x.at(across), y.at(up) - 9, title, f"label {'end' if is_right else 'start'}"))
    return parts
