"""One class for an image."""

from compressor.inputs import image
from compressor.numerics.classification import loss as loss
from compressor.numerics.classification import metrics as metrics

HEAD = "ForImageClassification"
INPUTS = image
OUTPUT_NAMES = ("logits",)
SCORE = "accuracy"
OPTIMUM = "ORTModelForImageClassification"


def snippet(file: str) -> str:
    """Return code that runs the exported file with onnxruntime."""
    return f"""import onnxruntime
from transformers import AutoImageProcessor

folder = "path/to/this/folder"
inputs = AutoImageProcessor.from_pretrained(folder)([image], return_tensors="np")  # image: opened with pillow
session = onnxruntime.InferenceSession(f"{{folder}}/{file}")
names = {{each.name for each in session.get_inputs()}}
(logits,) = session.run(["logits"], {{name: value for name, value in inputs.items() if name in names}})
"""
