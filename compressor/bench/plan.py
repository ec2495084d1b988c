"""A plan: which files to measure, at which shapes and thread counts, for how long."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TypedDict, cast

from .conforms import misfit
from .errors import InputError, PlanError
from .reading import read_json
from .result import FORMAT, InputFacts, PlanDocument, PlannedVariant

MOST_THREADS = 512  # onnxruntime starts them all; the largest processors have about as many
MOST_BATCH = 65_536
MOST_LENGTH = 1 << 20  # tokens; the longest contexts are of a million
MOST = {"batch_sizes": MOST_BATCH, "lengths": MOST_LENGTH, "threads": MOST_THREADS}


class Feed(TypedDict):
    """What another process needs to make the same inputs."""

    inputs: dict[str, InputFacts]
    inputs_file: str | None
    seed: int


class Largest(TypedDict):
    """The shape at which a process of its own opens each file."""

    batch_size: int
    length: int
    n_threads: int


@dataclass(frozen=True, kw_only=True)
class Points:
    """Points at which files are measured, and their inputs; `docs/explanation/measuring.md` explains each key."""

    format: int = FORMAT
    batch_sizes: list[int] = field(default_factory=lambda: [1])
    lengths: list[int] = field(default_factory=lambda: [32, 128])
    threads: list[int] = field(default_factory=lambda: [1])
    seed: int = 0
    """Fixes the inputs and the order of the runs."""
    inputs: dict[str, InputFacts] = field(default_factory=dict)
    """Facts by input name: `below` (bound of random ids), `shape` (where the file leaves it open)."""
    inputs_file: str | None = None
    """An `.npz` file of inputs in place of random ones, one array by name."""
    counter: str | None = None
    """`callgrind` counts the instructions of each file as well."""
    folder: Path = Path()
    """Where relative files are looked for: the folder of the plan."""

    @property
    def fed(self) -> Feed:
        """What another process needs to make the same inputs."""
        arrays = str((self.folder / self.inputs_file).absolute()) if self.inputs_file else None
        return {"inputs": self.inputs, "inputs_file": arrays, "seed": self.seed}

    @property
    def largest(self) -> Largest:
        """The shape at which a process of its own opens each file."""
        return {"batch_size": max(self.batch_sizes), "length": max(self.lengths), "n_threads": min(self.threads)}


@dataclass(frozen=True)
class Plan(Points):
    """What `python -m compressor.bench PLAN.json OUT.json` reads."""

    variants: list[PlannedVariant]
    """One entry per file: `name` and `file` at least; every other fact is copied into the result."""
    meter: str = "auto"
    energy_model: str | None = None
    """A profile from which joules are estimated where no meter measures them."""
    seconds: float = 10.0
    """Time for one shape at one thread count, shared by all files."""
    memory_limit_bytes: int | None = None
    """Memory that the process which opens a file alone may have for data, as on a small board."""
    expected_file: str | None = None
    """An `.npz` file of the outputs that another machine had for these inputs."""
    opset: int | None = None
    """Newest standard operations in the files."""
    min_onnxruntime: str | None = None
    """Oldest onnxruntime that has them."""

    def path(self, variant: PlannedVariant) -> Path:
        """Return the ONNX file of a variant."""
        return self.folder / variant["file"]


def scenario(batch_size: int) -> str:
    """Name the scenario of MLPerf: one input at a time, judged by p90, or batches, judged by throughput."""
    return "SingleStream" if batch_size == 1 else "Offline"


def read_plan(path: Path) -> Plan:
    """Read and check a plan; files that are missing are found here, before anything is measured.

    Raises
    ------
    PlanError
        If the plan cannot be read or is wrong.
    InputError
        If a file that it lists does not exist.
    """
    content = read_content(path, {known.name for known in fields(Plan)} - {"folder"})
    _check(content, path)
    plan = parsed(cast(PlanDocument, content), path.parent)
    for variant in plan.variants:
        if not plan.path(variant).is_file():
            raise InputError(f"{plan.path(variant)}: no such file")
    return plan


def parsed(document: PlanDocument, folder: Path) -> Plan:
    """Make a plan of a document, with the defaults for what it leaves out."""
    return Plan(**document, folder=folder)


def read_content(path: Path, known: set[str]) -> dict[str, object]:
    """Read a JSON file of our format, and refuse unknown keys."""
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise PlanError(f"{path}: not a readable JSON file: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise PlanError(f"{path}: not a bench plan of format {FORMAT}")
    unknown = set(content) - known
    if unknown:
        raise PlanError(f"{path}: unknown key {min(unknown)!r}")
    return content


def check_shapes(content: Mapping[str, object], path: Path) -> None:
    """Refuse batch sizes, lengths and thread counts that are no lists of whole numbers."""
    for key in ("batch_sizes", "lengths", "threads"):
        numbers = content.get(key, [1])
        if not isinstance(numbers, list) or not numbers or any(type(n) is not int or n < 1 for n in numbers):
            raise PlanError(f"{path}: {key!r} should be a list of numbers, each at least 1, got {numbers!r}")
        if max(numbers) > MOST[key]:
            raise PlanError(f"{path}: {key!r} should be at most {MOST[key]:,}, got {max(numbers)!r}")


def check_form(content: object, kind: object, path: Path) -> None:
    """Refuse values of the wrong type; keys that are missing are looked for one by one."""
    if wrong := misfit(content, kind, may_lack=True):
        raise PlanError(f"{path}: {wrong}; make the plan again")


def check_seconds(content: Mapping[str, object], key: str, path: Path) -> None:
    """Refuse a time that is not above zero."""
    seconds = content.get(key, 1)
    if not isinstance(seconds, int | float) or not seconds > 0:
        raise PlanError(f"{path}: {key!r} should be above 0, got {seconds!r}")


def check_counter(content: Mapping[str, object], path: Path) -> None:
    """Refuse an unknown counter."""
    if content.get("counter") not in (None, "callgrind"):
        raise PlanError(f"{path}: 'counter' should be 'callgrind' or null, got {content['counter']!r}")


def _check(content: Mapping[str, object], path: Path) -> None:
    """Refuse what would fail later with a less helpful message."""
    check_form(content, PlanDocument, path)
    variants = content.get("variants")
    if not isinstance(variants, list) or not variants:
        raise PlanError(f"{path}: 'variants' should be a list of files")
    names = [variant.get("name") for variant in variants if isinstance(variant, dict) and variant.get("file")]
    if len(names) < len(variants) or None in names or len(set(names)) < len(names):
        raise PlanError(f"{path}: each variant needs a 'file' and a 'name' of its own")
    for key in ("energy_model", "inputs_file", "expected_file", "min_onnxruntime"):
        if not isinstance(content.get(key), str | None):
            raise PlanError(f"{path}: {key!r} should be a text, got {content[key]!r}")
    limit = content.get("memory_limit_bytes")
    if limit is not None and (type(limit) is not int or limit < 1):
        raise PlanError(f"{path}: 'memory_limit_bytes' should be a whole number above 0, got {limit!r}")
    check_shapes(content, path)
    check_counter(content, path)
    check_seconds(content, "seconds", path)
