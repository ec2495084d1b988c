"""What a target asked, what was predicted, and what was measured, point by point."""

from collections.abc import Mapping
from typing import NamedTuple

from compressor.report import words
from compressor.rundir import TargetRecord

TITLES = {
    "p50_ratio": "latency over the original's",
    "p50_ms": "latency",
    "n_flops_ratio": "FLOPs over the original's",
    "n_params_ratio": "parameters over the original's",
    "size_ratio": "file size over the original's",
}


class Row(NamedTuple):
    """One point."""

    point: str
    wanted: str
    predicted: str
    measured: str


def title(record: TargetRecord) -> str:
    """Say what the target is about."""
    return next(text for name, text in TITLES.items() if record["target"].get(name) is not None)


def rows(record: TargetRecord) -> list[Row]:
    """List what was asked and reached; milliseconds if the target is in milliseconds."""
    return [
        Row(
            point,
            _number(record, wanted, point),
            _number(record, record["predicted"][point], point),
            words.NONE if record["measured"] is None else _number(record, record["measured"][point], point),
        )
        for point, wanted in record["wanted"].items()
    ]


def note(record: TargetRecord) -> str:
    """Say how often the target was corrected by measuring."""
    if record["measured"] is None:
        return "From a table of another machine: predicted, not measured."
    n_corrections = len(record["tries"]) - 1
    return (
        f"Corrected {words.times_in_words(n_corrections)} by measuring." if n_corrections else "No correction needed."
    )


def line(record: TargetRecord) -> str:
    """Sum up a target in a line."""
    parts = [
        f"{row.measured} measured, {row.predicted} predicted, {row.wanted} wanted at {row.point}"
        for row in rows(record)
    ]
    return f"target, {title(record)}: {'; '.join(parts)}"


def _number(record: TargetRecord, ratio: float, point: str) -> str:
    scale: Mapping[str, float] = record["original_ms"]
    return words.ms(ratio * scale[point]) if record["target"].get("p50_ms") is not None else words.digits(ratio)
