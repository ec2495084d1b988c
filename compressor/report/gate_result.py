"""The JSON document of the gate: what ``compress gate --json`` prints."""

from typing import Literal, NotRequired, TypedDict

from compressor.bench.gate_result import Counted, Names
from compressor.bench.result import Host

Amount = float | dict[str, int] | None
"""A number, the operations of a file with how often each occurs, or None where it cannot be known."""


class Limits(TypedDict, total=False):
    """How much a file may grow, as fractions, how many operations may be new, how far outputs may differ.

    A limit of None is not judged.
    """

    accuracy: float | None
    bytes: float | None
    parameters: float | None
    memory: float | None
    flops: float | None
    operations: float | None
    outputs: float | None
    instructions: float | None


class Check(TypedDict):
    """One comparison of the new file with its baseline."""

    name: str
    shape: str | None
    new: Amount
    baseline: Amount
    ratio: float | None
    low: float | None
    high: float | None
    difference: float | None
    margin: float | None
    verdict: str
    n_blocks: NotRequired[int]
    n_examples: NotRequired[int | None]
    n_nonfinite: NotRequired[Counted]
    """Of the accuracy: labelled examples with a score that is NaN or infinite."""
    nonfinite: NotRequired[Names]
    """Of the outputs: those that hold NaN or an infinity."""
    other: NotRequired[list[str]]
    """Of the outputs: those that only one file has, or whose type or shape differs."""
    run: NotRequired[int]
    """Of a self-test: its number."""


class Comparison(TypedDict):
    """Verdict of the gate over all checks."""

    format: int
    environment: Host
    seed: int
    margin: float
    budget_s: float
    verdict: str
    inconclusive: Literal["pass", "fail"]
    new: str
    baseline: str
    checks: list[Check]


class Spread(TypedDict):
    """What the runs of a self-test gave at one shape, as medians."""

    shape: str
    ratio: float
    low: float
    high: float
    half_width: float
    n_without_zero: int


class SelfTest(TypedDict):
    """A file against itself: what this machine makes of no difference at all."""

    format: int
    environment: Host
    margin: float
    budget_s: float
    verdict: str
    new: str
    n_runs: int
    n_false_alarms: int
    n_inconclusive: int
    false_alarm_rate: float
    false_alarm_interval: tuple[float, float]
    """95 % interval of the rate."""
    shapes: list[Spread]
    checks: list[Check]
