"""The JSON documents of the report: ``report.json``, and what ``compress check --json`` prints."""

from typing import Literal, NotRequired, TypedDict

from compressor.bench.result import Host, Variant
from compressor.report.dataset import DatasetRead
from compressor.rundir import Environment, FactorizedLayer, TargetRecord

FORMAT = 1


class ModelSection(TypedDict):
    """What a recipe says of the model, as far as the report shows it."""

    task: str
    checkpoint: str | None


class DataSection(TypedDict):
    """What a recipe says of the data, as far as the report shows it."""

    dataset: str


class StageSection(TypedDict):
    """What a recipe says of one stage, as far as the report shows it."""

    stage: str


class RecipeDocument(TypedDict):
    """The resolved recipe, as far as the report shows it; the file holds every key."""

    model: ModelSection
    data: DataSection
    stages: list[StageSection]
    gates: NotRequired[dict[str, float | None] | None]


class ReportEnvironment(Environment):
    """Where a run was made; processor and cores are those of the machine that measured."""

    measured: Host | None


class WidthChange(TypedDict):
    """A width of the original, and what is left of it."""

    name: str
    n_units_original: int
    n_units: int
    is_removed: bool


class Features(TypedDict):
    """Columns of a table that the original reads, and which of them the result reads."""

    original: list[str]
    kept: list[str]


class CostsAndGains(TypedDict):
    """What stages are compared by; FLOPs are those at the first measured shape."""

    n_params: int | None
    n_flops: int | None
    size_bytes: int | None
    sparsity: float | None
    column_sparsity: float | None
    accuracy_held_out: float | None
    accuracy: float | None


class Round(TypedDict, total=False):
    """A line of a stage's log; each stage logs the numbers that it has."""

    round: int
    dead_units: int
    units: int
    loss: float
    accuracy_held_out: float


class StageSummary(CostsAndGains):
    """What one stage cost and gave."""

    name: str
    folder: str
    seconds: float
    n_threads: int | None
    """Of torch; None if an earlier version ran the stage."""
    widths: list[WidthChange]
    features: Features | None
    factorized: list[FactorizedLayer]
    rounds: list[Round]
    target: NotRequired[TargetRecord | None]
    """What its target asked and reached, if it has one."""


class Verdict(TypedDict):
    """How a limit of the recipe stands; a value that cannot be known does not meet it."""

    name: str
    limit: float
    value: float | None
    met: bool
    note: str


class Gathered(TypedDict):
    """Everything of ``report.json`` but the gates."""

    format: int
    name: str
    source: str
    recipe_file: str
    recipe: RecipeDocument
    environment: ReportEnvironment
    is_measured: bool
    bench_file: str | None
    variants: list[Variant]
    widths: list[WidthChange]
    features: Features | None
    factorized: list[FactorizedLayer]
    flops_at: str
    original: CostsAndGains
    stages: list[StageSummary]


class Report(Gathered):
    """``report.json``."""

    gates: list[Verdict]


class PlannedModel(TypedDict):
    """The model that a recipe starts from."""

    family: str
    n_params: int
    is_trained: bool
    padding_gap: float | None
    """Largest difference between the answers to a text alone and in a padded batch, over the largest answer."""


class PlannedStage(TypedDict):
    """Size of the model after a stage, before any training."""

    stage: str
    n_params: int
    widths: dict[str, int]
    fixed_widths: list[str]
    """Those that no later stage can cut: a factorized layer has no axis for their units."""
    memory_bytes: int
    """Estimated; at the peak of the stage, besides the program and the data."""
    disk_bytes: int
    """Estimated; what the stage leaves."""
    temporary_bytes: int
    """Estimated; what it has on the disk meanwhile, such as the teacher's outputs."""


class Needs(TypedDict):
    """What a run needs, estimated from sizes."""

    memory_bytes: int
    """Of the whole process."""
    disk_bytes: int
    """In the run directory, at most."""


class Start(TypedDict):
    """What a recipe starts from."""

    model: PlannedModel
    data: dict[str, int]
    """Examples by split."""
    dataset: DatasetRead


class RecipePlan(Start):
    """What ``compress check --json`` prints."""

    stages: list[PlannedStage]
    needs: Needs


CardKind = Literal["model", "onnx"]
