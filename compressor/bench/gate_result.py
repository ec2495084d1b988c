"""The JSON documents of the latency gate: a plan that it reads, a result that it writes."""

from typing import TypedDict

from .result import Host, Point, PointsDocument


class GateSettings(PointsDocument, total=False):
    """How two files are compared: everything but the files."""

    margin: float
    budget_s: float
    baseline_inputs_file: str | None
    """The same examples as the baseline reads them, where it reads other ids."""


class GateDocument(GateSettings):
    """A plan of the latency gate."""

    new: str
    baseline: str


class MaybeBoth(TypedDict):
    """A number of each of the two files of a gate; None where it cannot be known."""

    new: float | None
    baseline: float | None


class Names(TypedDict):
    """Names of outputs of each of the two files of a gate."""

    new: list[str]
    baseline: list[str]


class Counted(TypedDict):
    """A count for each of the two files of a gate."""

    new: int
    baseline: int


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
    nonfinite_outputs: Names
    """Outputs that hold NaN or an infinity."""
    other_outputs: list[str]
    """Outputs that only one file has, or whose type or shape differs."""


class GateResult(TypedDict):
    """What the latency gate writes."""

    format: int
    environment: Host
    seed: int
    margin: float
    budget_s: float
    verdict: str
    peak_memory_bytes: MaybeBoth
    accuracy: MaybeBoth | None
    """None in it where a score is NaN."""
    n_nonfinite: Counted | None
    """Labelled examples with a score that is NaN or infinite."""
    n_examples: int | None
    n_instructions: list[Counts] | None
    shapes: list[GateEntry]
