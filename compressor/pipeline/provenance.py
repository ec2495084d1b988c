"""The provenance of a run: versions, host, git commit, and the metadata of exported files."""

import hashlib
import importlib.metadata
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import torch

from compressor import __version__
from compressor.bench.host import cpu
from compressor.model.checkpoint import Source
from compressor.progress import say
from compressor.recipe import Recipe, dump
from compressor.rundir import Environment, RunRecord

LIBRARIES = ("torch", "transformers", "datasets", "accelerate", "safetensors", "onnx", "onnxruntime", "numpy")


def source_of(source: Source, content: str) -> str:
    """Name what a run starts from: never by a path of this machine, and only by what belongs to every key.

    Parameters
    ----------
    source : Source
        Recipe key `model`.
    content : str
        Digest of its files and settings.
    """
    if source.checkpoint is None:
        return f"random weights of {(source.config or {})['model_type']}"
    if Path(source.checkpoint).expanduser().is_dir():
        return f"a local checkpoint, sha256 {content[:16]}"
    return source.checkpoint


def metadata(source: str) -> dict[str, str]:
    """Name, version and source, for the files that a run exports; the key of their step is added to it."""
    return {"producer": "compressor", "version": __version__, "source": source}


def recipe_digest(recipe: Recipe) -> str:
    """Hash of the resolved recipe."""
    return hashlib.sha256(dump(recipe).encode()).hexdigest()


def run_record(recipe: Recipe, recipe_file: str, source: str) -> RunRecord:
    """Content of ``run.json``."""
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    environment: Environment = {
        "versions": {"python": platform.python_version(), "compressor": __version__, **versions},
        "cpu": cpu(),
        "n_cores": os.cpu_count(),
        "n_threads": torch.get_num_threads(),
        "seed": recipe.seed,
        "git_commit": _git_commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return {
        "format": 1,
        "version": __version__,
        "environment": environment,
        "recipe_file": Path(recipe_file).name,
        "recipe_digest": recipe_digest(recipe),
        "source": source,
    }


def compare_threads(before: object, now: RunRecord) -> None:
    """Say so if a run is resumed with another number of threads: sums are then rounded in another order.

    ``before`` is what ``run.json`` held, if anything.
    """
    environment = before.get("environment") if isinstance(before, dict) else None
    n_before = environment.get("n_threads") if isinstance(environment, dict) else None
    n_now = now["environment"]["n_threads"]
    if n_before not in (None, n_now):
        what = f"started with {n_before}, resumed with {n_now}: numbers may differ in their last digits"
        say(f"{'threads':<24} {what}; OMP_NUM_THREADS={n_before} keeps them")


def _git_commit() -> str | None:
    """Commit of the folder that the run was started in; None outside a repository."""
    try:
        answer = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return answer.stdout.strip() or None
