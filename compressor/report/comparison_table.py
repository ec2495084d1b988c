"""The table of a comparison, the same for a terminal and the page."""

from collections.abc import Sequence

from compressor.bench.shape import Shape
from compressor.report import speed, words
from compressor.report.comparison import DENSE, Comparison, Row

NOTE = f"{speed.MARK} Other programs shared the processor: the ratio is that of processor time."


def shapes(rows: Sequence[Row]) -> list[str]:
    """List the shapes at which files were timed."""
    return list(dict.fromkeys(each["shape"] for row in rows for each in row["speeds"]))


def header(rows: Sequence[Row]) -> list[str]:
    """Title the columns."""
    at = flops_shape(rows)
    return [
        "method",
        "budget",
        "layers",
        "weight error",
        "output error",
        "parameters",
        "MiB",
        f"FLOPs, {words.flops_at(at)}" if at else "FLOPs",
        *(f"time, {words.shape(Shape.parse(shape))}" for shape in shapes(rows)),
        "accuracy, held-out",
        "accuracy",
    ]


def cells(row: Row, rows: Sequence[Row], n_layers: int) -> list[str]:
    """Write a row; the time is the ratio to that of the dense fp32 file."""
    is_dense = row["method"] == DENSE
    times = {each["shape"]: each for each in row["speeds"]}
    return [
        f"{DENSE} {row['precision']}" if is_dense else row["method"],
        "" if row["budget"] is None else f"{row['budget']:g}",
        "" if is_dense else f"{row['n_layers']} of {n_layers}",
        _error(row["weight_error"]),
        _error(row["output_error"]),
        words.count(row["n_params"]),
        words.NONE if row["size_bytes"] is None else words.digits(row["size_bytes"] / words.MIB),
        words.count(row["n_flops"].get(flops_shape(rows))),
        *(ratio(row, shape) if shape in times else words.NONE for shape in shapes(rows)),
        words.accuracy(row["accuracy_held_out"]),
        words.accuracy(row["accuracy"]),
    ]


def ratio(row: Row, shape: str) -> str:
    """Write the time at a shape over that of the dense fp32 file, marked where it is processor time."""
    found = next(each for each in row["speeds"] if each["shape"] == shape)
    return f"{found['ratio']:.2f}" + ("" if found["clock"] == speed.WALL.title else f" {speed.MARK}")


def flops_shape(rows: Sequence[Row]) -> str:
    """Name the last shape for which FLOPs are known."""
    return next((list(row["n_flops"])[-1] for row in rows if row["n_flops"]), "")


def notes(rows: Sequence[Row]) -> list[str]:
    """Say which times are processor time, and which layers stayed dense and why."""
    is_marked = any(each["clock"] != speed.WALL.title for row in rows for each in row["speeds"])
    return [*([NOTE] if is_marked else []), *(line for row in rows for line in _left(row))]


def _left(row: Row) -> list[str]:
    title = f"{row['method']} {row['budget']}"
    return [f"{title}: {_named(paths)} stayed dense: {reason}" for reason, paths in row["left_dense"].items()]


def _named(paths: Sequence[str]) -> str:
    return repr(paths[0]) if len(paths) == 1 else f"{len(paths)} layers, {paths[0]!r} among them,"


def _error(value: float | None) -> str:
    return words.NONE if value is None else f"{value:.4f}"


def facts(comparison: Comparison) -> list[str]:
    """Say on what the numbers were taken."""
    layers, n_weights = comparison["layers"], words.count(comparison["n_weights"])
    return [
        f"{comparison['source']}, {comparison['task']}, {len(layers)} layers of {n_weights} weights",
        f"{comparison['dataset']}: accuracy on {comparison['n_examples']:,} rows of {comparison['split']}, "
        f"output error on {comparison['n_held_out']:,} held-out rows; "
        f"norm {comparison['norm']} from {comparison['n_calibration']:,} calibration rows",
        f"{comparison['environment']['cpu']['model']}, one pair of files at a time beside dense fp32",
    ]
