"""One class for a row of numbers."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from compressor.inputs import table
from compressor.nets.tabular import AutoModelForTabularClassification
from compressor.numerics.classification import accuracy, cross_entropy

HEAD = "ForTabularClassification"
INPUTS = table
OUTPUT_NAMES = ("logits", "reconstruction")
SCORE = "accuracy"
OPTIMUM = ""


def auto_class() -> Any:
    """Give transformers' class for it."""
    return AutoModelForTabularClassification


def loss(outputs: Mapping[str, Tensor], labels: Tensor, weight: float = 1.0) -> Tensor:
    """Give the weighted cross-entropy, and what an autoencoder adds for its reconstruction."""
    entropy = weight * cross_entropy(outputs["logits"], labels)
    return entropy + outputs["reconstruction_loss"] if "reconstruction_loss" in outputs else entropy


def metrics(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Give the share of right answers."""
    return {"accuracy": accuracy(logits, labels)}


def snippet(file: str) -> str:
    """Write how the exported file is used."""
    return f"""import json

import onnxruntime

folder = "path/to/this/folder"
config = json.load(open(f"{{folder}}/config.json"))
dtype = "float64" if config.get("feature_origins") else "float32"  # large numbers need float64
rows = frame[config["feature_names"]].to_numpy(dtype)  # frame: a table of pandas with these columns, as they are
session = onnxruntime.InferenceSession(f"{{folder}}/{file}")
(logits,) = session.run(["logits"], {{"features": rows}})
"""
