"""One class for a row of numbers."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from compressor.inputs import table
from compressor.nets.tabular import AutoModelForTabularClassification
from compressor.numerics import classification
from compressor.numerics.classification import metrics as metrics

HEAD = "ForTabularClassification"
INPUTS = table
OUTPUT_NAMES = ("logits", "reconstruction")
SCORE = "accuracy"
OPTIMUM = ""


def auto_class() -> Any:
    """Return the auto class, which transformers does not have."""
    return AutoModelForTabularClassification


def loss(outputs: Mapping[str, Tensor], labels: Tensor, weight: float = 1.0) -> Tensor:
    """Return the weighted cross-entropy, plus the reconstruction loss of an autoencoder."""
    entropy = classification.loss(outputs, labels, weight)
    return entropy + outputs["reconstruction_loss"] if "reconstruction_loss" in outputs else entropy


def snippet(file: str) -> str:
    """Return code that runs the exported file with onnxruntime."""
    return f"""import json
from pathlib import Path

import onnxruntime

folder = "path/to/this/folder"
config = json.loads(Path(folder, "config.json").read_text())
dtype = "float64" if config.get("feature_origins") else "float32"  # large numbers need float64
rows = frame[config["feature_names"]].to_numpy(dtype)  # frame: a pandas DataFrame with these columns, not scaled
session = onnxruntime.InferenceSession(f"{{folder}}/{file}")
(logits,) = session.run(["logits"], {{"features": rows}})
"""
