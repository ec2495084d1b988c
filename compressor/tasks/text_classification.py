"""One class for a text, or for a pair of texts."""

from compressor.inputs import text
from compressor.numerics.classification import loss as loss
from compressor.numerics.classification import metrics as metrics

HEAD = "ForSequenceClassification"
INPUTS = text
OUTPUT_NAMES = ("logits",)
SCORE = "accuracy"
OPTIMUM = "ORTModelForSequenceClassification"


def snippet(file: str) -> str:
    """Return code that runs the exported file with onnxruntime."""
    return f"""import onnxruntime
from transformers import AutoTokenizer

folder = "path/to/this/folder"
inputs = AutoTokenizer.from_pretrained(folder)(["some text"], truncation=True, return_tensors="np")
session = onnxruntime.InferenceSession(f"{{folder}}/{file}")
names = {{each.name for each in session.get_inputs()}}
(logits,) = session.run(["logits"], {{name: value for name, value in inputs.items() if name in names}})
"""
