"""A run directory: the names and documents of its files, its lock, and the keys of its steps."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NotRequired, TypedDict

from compressor.bench.result import Cpu, Precision
from compressor.errors import RunDirError
from compressor.files import explained, file_digest, first_changed, read_json, read_sealed, write_json, write_sealed
from compressor.progress import say
from compressor.rundir import owned
from compressor.temporary import remove_left

FORMAT = 3  # of the files in the folders of steps; part of every key, so that another format is not resumed
DONE = "done.json"
KEY = "key.json"  # the key under which a step's folder was written, finished or not
TARGET = "target.json"  # what a target asked and reached, in the folder of its stage
DIVERGED = "diverged.json"  # key of the rounds that are kept although retraining failed


class Environment(TypedDict):
    """The environment of a run."""

    versions: dict[str, str]
    cpu: Cpu
    n_cores: int | None
    n_threads: NotRequired[int]
    """Of torch; missing in runs of earlier versions."""
    seed: int
    git_commit: str | None
    date: str


class RunRecord(TypedDict):
    """``run.json``: the provenance of a run."""

    format: int
    version: str
    environment: Environment
    recipe_file: str
    recipe_digest: str
    source: str


class Metrics(TypedDict):
    """Metrics of a file on the reported split; a task's other metrics become keys here."""

    accuracy: float


class HeldOut(TypedDict):
    """The same on the held-out share, by which choices are made."""

    accuracy_held_out: float


class FileRecord(Metrics):
    """The record of an ONNX file."""

    n_examples: int
    split: str
    size_bytes: int
    precision: NotRequired[Precision]
    """Missing in files of earlier versions; `precision_of` fills it in."""


class FactorizedLayer(TypedDict):
    """A layer that is a product of factors."""

    name: str
    method: str
    ranks: list[int]
    """Inner sizes of the factors."""
    n_params: int
    n_params_dense: int
    """Weights of the dense layer of the same inputs and outputs."""


class StepRecord(TypedDict):
    """The ``facts`` of a step: its model, or the file exported from it."""

    n_params: int
    n_flops: dict[str, int]
    """By the name of a shape."""
    sparsity: float
    column_sparsity: float
    size_bytes: int
    widths: dict[str, int]
    """Units by the name of a width."""
    layers: list[int]
    """Kept layers, as indices in the original."""
    features: NotRequired[list[str]]
    factorized: NotRequired[list[FactorizedLayer]]
    accuracy_held_out: NotRequired[float]
    has_own_processor: NotRequired[bool]
    """Whether a step changed the tokenizer, which is then saved with its model."""
    file: NotRequired[str]
    accuracy: NotRequired[float]
    n_examples: NotRequired[int]
    split: NotRequired[str]
    precision: NotRequired[Precision]
    files: NotRequired[dict[str, FileRecord]]
    """For the original: its ONNX files by name."""


class TargetTry(TypedDict):
    """What a choice of units should cost and costs, over the original, at each point."""

    predicted: dict[str, float]
    measured: dict[str, float] | None
    """None where it could not be measured here."""


class TargetRecord(TargetTry):
    """``target.json`` of a stage: what its target asked, and what the best choice reaches."""

    target: dict[str, float | str | None]
    wanted: dict[str, float]
    tries: list[TargetTry]
    original_ms: dict[str, float]
    """For a latency: what the original takes at each point; else empty."""
    widths: NotRequired[dict[str, int]]
    """Units that each width keeps."""
    share: NotRequired[float]
    """Of the parameters that factorized layers keep."""


class Cost(TypedDict):
    """What a stage took."""

    stage: str
    seconds: float
    n_threads: int


class Done(TypedDict):
    """``done.json`` of a step."""

    key: str
    stage: NotRequired[str]
    seconds: NotRequired[float]
    n_threads: NotRequired[int]
    facts: StepRecord
    files: NotRequired[dict[str, str]]
    """Digests of the files that the step wrote; missing in runs of earlier versions."""


class ParityCheck(TypedDict):
    """Agreement of two runtimes on inputs of one shape."""

    batch_size: int
    length: int
    max_abs_diff: float


class Parity(TypedDict):
    """``parity.json``: the differences between ONNX and torch."""

    opset: int
    attention: str
    max_abs_diff: float
    checks: list[ParityCheck]


class RunDir:
    """The folder of one run, locked for writing while it is open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recipe = path / "recipe.yaml"
        self.record = path / "run.json"
        self.original = path / "original"
        self.bench_plan = path / "bench-plan.json"
        self.bench = path / "bench.json"
        self.bench_key = path / "bench-key.json"
        self.report = path / "report"

    def stage(self, index: int, name: str) -> Path:
        """Folder of a stage, numbered in recipe order."""
        return self.path / f"{index:02d}-{name}"

    def is_measured(self, key: str) -> bool:
        """Whether the files of this key were measured, and the measurements are as they were written."""
        mark = read_sealed(self.bench_key)
        if mark is None or mark["key"] != key:
            return False
        changed = first_changed(self.path, mark["files"])
        if changed:
            say(f"{'bench':<24} {changed!r} is missing or has changed, measuring again")
        return changed is None

    def mark_measured(self, key: str) -> None:
        """Note for which files the measurements are; written last."""
        files = {file.name: file_digest(file) for file in (self.bench_plan, self.bench)}
        write_sealed(self.bench_key, {"key": key, "files": files})

    def forget_bench(self) -> None:
        """Remove the measurements, since they are of other files; the key is removed first."""
        for file in (self.bench_key, self.bench_plan, self.bench):
            file.unlink(missing_ok=True)


@contextlib.contextmanager
def open_run(path: Path) -> Iterator[RunDir]:
    """Create the run directory if need be and hold its lock.

    A second process is refused, and so is a folder with files that no run wrote. Files that a killed run left half
    written are removed, and so are temporary folders of killed processes.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        owned.require_ours(path)
        if not path.stat().st_mode & 0o222:  # root may write anyway, but someone removed the bits on purpose
            raise PermissionError(errno.EACCES, "it is read-only")
        lock = (path / owned.LOCK).open("a+")
    except OSError as error:
        raise RunDirError(f"{path}: cannot be written: {error.strerror}; choose another --run-dir") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "another process"
            raise RunDirError(f"{path}: in use by {holder}; wait for it, or choose another --run-dir") from None
        lock.truncate(0)
        lock.write(f"{owned.HOLDER}{os.getpid()}")
        lock.flush()
        home = RunDir(path)
        try:
            with explained(path):
                owned.clean(path)
            remove_left()
            yield home
        except BaseException:
            if not home.record.exists():
                lock.truncate(0)  # nothing was written yet, so the lock must not mark the folder as a run's
            raise


def chain(previous: str, *parts: object) -> str:
    """Key of a step: a hash of everything before it and of its own settings."""
    text = json.dumps([previous, *parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_done(folder: Path) -> Done | None:
    """Read the ``done.json`` of a step; None if the step is not done."""
    done: Done | None = read_json(folder / DONE)
    return done


def precision_of(record: StepRecord | FileRecord, origin: str) -> Precision:
    """Return the precision of a recorded file.

    Records of earlier versions lack it: in these, only the files of `quantize` are not fp32.

    Parameters
    ----------
    record : StepRecord or FileRecord
        From ``done.json``.
    origin : str
        Name of the stage, or of the original's file.
    """
    return record.get("precision") or ("int8" if origin in ("quantize", "model-int8.onnx") else "fp32")


def write_run_record(run: RunDir, record: RunRecord) -> None:
    """Write ``run.json``."""
    write_json(run.record, record)


def read_run_record(run: RunDir) -> RunRecord:
    """Read ``run.json``, which must exist."""
    record: RunRecord = read_json(run.record)
    return record


def write_parity(folder: Path, parity: Parity) -> None:
    """Write ``parity.json`` into the folder of an export."""
    write_json(folder / "parity.json", parity)
