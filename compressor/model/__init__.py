"""Networks as artifacts: loading, saving, outputs and descriptions."""

from typing import TYPE_CHECKING

from compressor.plugins import lazily

if TYPE_CHECKING:
    from compressor.model.artifact import Model, OnnxGraph, load, load_model, open_model, save_model
    from compressor.model.checkpoint import Source
    from compressor.model.outputs import logits_of, outputs_of
    from compressor.tasks import Task

__all__ = [
    "Model",
    "OnnxGraph",
    "Source",
    "Task",
    "load",
    "load_model",
    "logits_of",
    "open_model",
    "outputs_of",
    "save_model",
]
__getattr__ = lazily(
    __name__,
    artifact="Model OnnxGraph Task load load_model open_model save_model",
    checkpoint="Source",
    outputs="logits_of outputs_of",
)
