"""One class for an image."""

from collections.abc import Mapping

from torch import Tensor

from compressor.inputs import image
from compressor.numerics.classification import accuracy, cross_entropy

HEAD = "ForImageClassification"
INPUTS = image
OUTPUT_NAMES = ("logits",)
SCORE = "accuracy"
OPTIMUM = "ORTModelForImageClassification"


def loss(outputs: Mapping[str, Tensor], labels: Tensor, weight: float = 1.0) -> Tensor:
    """Return the weighted cross-entropy."""
    return weight * cross_entropy(outputs["logits"], labels)


def metrics(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Return the accuracy."""
    return {"accuracy": accuracy(logits, labels)}


def snippet(file: str) -> str:
    """Return code that runs the exported file with onnxruntime."""
    return f"""import onnxruntime

folder = "path/to/this/folder"
inputs = AutoImageProcessor.from_pretrained(folder)([image], return_tensors="np")  # image: opened with pillow
session = onnxruntime.InferenceSession(f"{{folder}}/{file}")
names = {{each.name for each in session.get_inputs()}}
(logits,) = session.run(["logits"], {{name: value for name, value in inputs.items() if name in names}})
"""
