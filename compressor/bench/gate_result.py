"""The JSON documents of the latency gate: a plan that it reads, a result that it writes."""

from typing import TypedDict

from .result import Host, Point, PointsDocument


class GateSettings(PointsDocument, total=False):
    """How two files are compared: everything but the files."""

    margin: float
    budget_s: float


class GateDocument(GateSettings):
    """A plan of the latency gate."""

    new: str
    baseline: str


class Both(TypedDict):
    """A number of each of the two files of a gate."""

    new: float
    baseline: float


class MaybeBoth(TypedDict):
    """A number of each of the two files of a gate; None where it cannot be known."""

    new: float | None
    baseline: float | None


class Counts(TypedDict):
    """Instructions of both files at one size."""

    batch_size: int
    length: int | None
    new: int
    baseline: int


class GateEntry(Point):
    """What the latency gate found at one shape."""

    n_blocks: int
    new_cpu_ms: float
    baseline_cpu_ms: float
    ratio: float
    low: float
    high: float
    verdict: str
    output_difference: float | None


class GateResult(TypedDict):
    """What the latency gate writes."""

    format: int
    environment: Host
    seed: int
    margin: float
    budget_s: float
    verdict: str
    peak_memory_bytes: MaybeBoth
    accuracy: Both | None
    n_examples: int | None
    n_instructions: list[Counts] | None
    shapes: list[GateEntry]
