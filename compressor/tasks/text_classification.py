"""One class for a text, or for a pair of texts."""

from collections.abc import Mapping

from torch import Tensor

from compressor.inputs import text
from compressor.numerics.classification import accuracy, cross_entropy

HEAD = "ForSequenceClassification"
INPUTS = text
OUTPUT_NAMES = ("logits",)
SCORE = "accuracy"
OPTIMUM = "ORTModelForSequenceClassification"


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
inputs = AutoTokenizer.from_pretrained(folder)(["some text"], return_tensors="np")
session = onnxruntime.InferenceSession(f"{{folder}}/{file}")
names = {{each.name for each in session.get_inputs()}}
(logits,) = session.run(["logits"], {{name: value for name, value in inputs.items() if name in names}})
"""
