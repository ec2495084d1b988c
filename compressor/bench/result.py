"""The JSON documents of the bench: a plan that it reads, a result that it writes; what each key holds, and no more.

The keys of the classes with `total=False` may be missing: they do not apply, or an earlier version wrote the file.
"""

from collections.abc import Iterable
from typing import Literal, TypedDict

FORMAT = 1

Precision = Literal["fp32", "fp16", "int8", "int4", "ternary"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8", "int4", "ternary")
Kind = Literal["original", "result"]
EnergyKind = Literal["measured", "estimated", "unavailable"]


class InputFacts(TypedDict, total=False):
    """What a plan says of one input of a file."""

    below: int
    """Bound of random ids."""
    shape: list[int | None]
    """Sizes of free axes; that of the batch does not matter."""


class PlanVariant(TypedDict):
    """One file of a plan."""

    name: str
    file: str


class PlannedVariant(PlanVariant, total=False):
    """One file of a plan with everything that may be known of it before it is measured; copied into the result."""

    kind: Kind
    precision: Precision | None
    quantized: bool | None
    """In place of `precision`, in files of earlier versions."""
    accuracy: float | None
    n_examples: int | None
    split: str | None
    n_params: int | None
    n_flops: dict[str, int | None] | None
    """By the name of a shape."""
    weights: list[str]
    """Names of the files beside it that hold its weights."""
    widths: dict[str, int]
    """Units by the name of a width, in a cost table."""


class PointsDocument(TypedDict, total=False):
    """At which points files are measured, and what they are fed with."""

    format: int
    batch_sizes: list[int]
    lengths: list[int]
    threads: list[int]
    seed: int
    inputs: dict[str, InputFacts]
    inputs_file: str | None
    counter: str | None


class PlanSettings(PointsDocument, total=False):
    """How the files of a plan are measured: everything but the files."""

    meter: str
    energy_model: str | None
    seconds: float
    memory_limit_bytes: int | None
    expected_file: str | None
    opset: int | None
    min_onnxruntime: str | None


class PlanDocument(PlanSettings):
    """A plan: ``bench-plan.json`` of a run, ``plan.json`` of a bundle."""

    variants: list[PlannedVariant]


class Cpu(TypedDict):
    """A processor and its instruction sets."""

    model: str
    flags: list[str]


class Host(TypedDict):
    """The machine that files were measured on; None for what it does not show."""

    versions: dict[str, str]
    cpu: Cpu
    n_cores: int | None
    governor: str | None
    temperature_c: float | None
    is_emulated: bool
    date: str | None


class HostState(TypedDict):
    """Whether something slows a processor down; None for what it does not show."""

    governor: str | None
    frequency_mhz: float | None
    temperature_c: float | None
    n_throttles: int | None
    firmware_bits: int | None
    firmware_error: str | None


class Marks(TypedDict):
    """When a file was at work, in seconds on the clock of the bench, for meters that another machine reads."""

    idle: list[list[float]]
    """Start and end, before the work and after it."""
    windows: list[tuple[float, float, int, float]]
    """Start, end, number of inferences, processor time."""


class Joules(TypedDict):
    """Joules of one inference above idle, or none; what follows from them."""

    kind: EnergyKind
    net_j: float | None
    gross_j: float | None
    low: float | None
    high: float | None


class Energy(Joules, total=False):
    """What is known of the energy of one inference."""

    reason: str | None
    """Why there are no joules."""
    mean_w: float | None
    inferences_per_s: float | None
    edp_js: float | None
    idle_w: float | None
    idle_before_w: float
    idle_after_w: float
    n_windows: int
    cpu_s: float | None
    meter: str | None
    scope: str | None
    profile: dict[str, object]
    """The profile that the estimate was made with."""
    warnings: list[str]
    host: HostState | None
    marks: Marks


class Point(TypedDict):
    """Batch size, length and threads."""

    batch_size: int
    length: int | None
    threads: int


class Times(TypedDict):
    """Times of one inference, and examples per second back to back."""

    p50_ms: float
    p90_ms: float
    p99_ms: float
    mean_ms: float
    cpu_ms: float
    throughput_per_s: float
    n_runs: int
    block_p50_ms: list[float]
    """Median of each block, in the order in which all files took turns."""
    block_cpu_ms: list[float]
    """Processor time of an inference in each of these blocks."""


class Entry(Point):
    """What was measured on a file at one shape; None for what an earlier version did not measure."""

    scenario: str
    n_flops: int | None
    p50_ms: float
    p90_ms: float
    p99_ms: float
    mean_ms: float | None
    cpu_ms: float | None
    throughput_per_s: float
    n_runs: int | None
    block_p50_ms: list[float] | None
    block_cpu_ms: list[float] | None
    is_shared: bool | None
    """Other programs had the core: wall and processor time part by more than 15 %, also when measured again.

    None for several threads.
    """
    n_instructions: int | None
    energy: Energy


class LoadTime(TypedDict):
    """How long it takes to open a file."""

    load_ms: float | None
    load_range_ms: list[float] | None
    """The shortest and the longest time."""


class Peak(TypedDict):
    """Memory that a file takes."""

    peak_memory_bytes: float | None


class Load(LoadTime, Peak):
    """What opening a file takes."""


class Variant(PlannedVariant, Load):
    """One measured file."""

    size_bytes: int
    output_difference: float | None
    bench: list[Entry]


class Result(TypedDict):
    """What the bench writes: ``bench.json``."""

    format: int
    environment: Host
    seed: int
    variants: list[Variant]


def variant_name(kind: Kind, precision: Precision) -> str:
    """Name a file of a run.

    Examples
    --------
    >>> variant_name("original", "int8"), variant_name("result", "fp32")
    ('original int8', 'compressed fp32')
    """
    return f"{'original' if kind == 'original' else 'compressed'} {precision}"


def precision_of(variant: PlannedVariant) -> Precision | None:
    """Give the precision of a file; earlier versions only wrote whether it is quantized, to int8; None if unknown."""
    if "precision" in variant:
        return variant["precision"]
    is_quantized = variant.get("quantized")
    return None if is_quantized is None else "int8" if is_quantized else "fp32"


def is_quantized(precision: Precision | None) -> bool | None:
    """Tell whether weights are stored in fewer bits than a float has; None if the precision is not known."""
    return None if precision is None else precision not in ("fp32", "fp16")


def entries(variants: Iterable[Variant]) -> list[tuple[Variant, Entry]]:
    """List everything that was measured, with its file."""
    return [(variant, entry) for variant in variants for entry in variant["bench"]]
