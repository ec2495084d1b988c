"""The provenance of a run: versions, host, git commit, and the metadata of exported files."""

import hashlib
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime

from compressor import __version__
from compressor.bench.host import cpu
from compressor.recipe import Recipe, dump
from compressor.rundir import Environment, RunRecord

LIBRARIES = ("torch", "transformers", "datasets", "accelerate", "safetensors", "onnx", "onnxruntime", "numpy")


def metadata(recipe: Recipe) -> dict[str, str]:
    """Name, version, source and recipe digest, for the files that a run exports."""
    source = recipe.model.checkpoint or f"random weights of {(recipe.model.config or {})['model_type']}"
    return {"producer": "compressor", "version": __version__, "source": source, "recipe": recipe_digest(recipe)}


def recipe_digest(recipe: Recipe) -> str:
    """Hash of the resolved recipe."""
    return hashlib.sha256(dump(recipe).encode()).hexdigest()


def run_record(recipe: Recipe, recipe_file: str, metadata: Mapping[str, str]) -> RunRecord:
    """Content of ``run.json``."""
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    environment: Environment = {
        "versions": {"python": platform.python_version(), "compressor": __version__, **versions},
        "cpu": cpu(),
        "n_cores": os.cpu_count(),
        "seed": recipe.seed,
        "git_commit": _git_commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return {
        "format": 1,
        "version": __version__,
        "environment": environment,
        "recipe_file": recipe_file,
        "recipe_digest": metadata["recipe"],
        "source": metadata["source"],
    }


def _git_commit() -> str | None:
    """Commit of the folder that the run was started in; None outside a repository."""
    try:
        answer = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return answer.stdout.strip() or None
