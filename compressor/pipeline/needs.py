"""What a run needs of memory and disk, from the sizes of its networks; refused before work if the disk is too small."""

import resource
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from compressor import surgery
from compressor.errors import RunDirError
from compressor.model import Model
from compressor.report.document import Needs, PlannedStage
from compressor.training.trainer import DryTrainer, Trainer

WEIGHT = 4  # bytes, float32
TIMES = {"export": 3.0, "quantize": 2.5}  # the weights: memory at the peak of a stage
OTHERS = 2.5  # the same for stages that neither train nor write ONNX: the network, what is cut, and a copy in between
OF_FILES = {"export": 1.0, "quantize": 0.3}  # the weights: what a stage leaves on the disk
MB = 1e6


def of_stage(stage: str, model: Model, trainer: Trainer) -> tuple[int, int, int]:
    """Estimate the memory of a stage, what it leaves on the disk, and what it has there meanwhile, in bytes.

    ``model`` is what the stage returned in the dry walk, or what it would export.
    """
    weights = WEIGHT * surgery.n_params(model.net)
    memory, left = round(TIMES.get(stage, OTHERS) * weights), round(OF_FILES.get(stage, 1.0) * weights)
    if not isinstance(trainer, DryTrainer):
        return memory, left, 0
    meanwhile = 2 * trainer.step_bytes + trainer.teacher_bytes  # a step is written beside the one before
    return max(memory, trainer.memory_bytes), left, meanwhile


def of_run(stages: Sequence[PlannedStage], model: Model) -> Needs:
    """Sum up what the stages of a run need; the process with its data counts as it is after the dry walk."""
    weights = WEIGHT * surgery.n_params(model.net)
    is_exported = any(stage["stage"] == "export" for stage in stages)
    original = round(sum(OF_FILES.values()) * weights) if is_exported else 0
    largest = max(stage["memory_bytes"] for stage in stages)
    return {
        "memory_bytes": _peak_bytes() + max(0, largest - 2 * weights),  # the walk itself held the network twice
        "disk_bytes": original
        + sum(stage["disk_bytes"] for stage in stages)
        + max(stage["temporary_bytes"] for stage in stages),
    }


def require_disk(run_dir: Path, needs: Needs) -> None:
    """Refuse a run for which the disk is too small; what it left there earlier counts."""
    there = sum(file.stat().st_size for file in run_dir.rglob("*") if file.is_file())
    wanted, free = needs["disk_bytes"] - there, shutil.disk_usage(run_dir).free
    if wanted > free:
        what = f"the run takes about {wanted / MB:,.1f} MB, the disk has {free / MB:,.1f} MB free"
        raise RunDirError(f"{run_dir}: {what}; free some space, or choose another --run-dir")


def _peak_bytes() -> int:
    """Highest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
