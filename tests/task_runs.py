"""A tiny recipe for each task, and its reported rows read by a few lines of their own."""

import datasets
import numpy as np
import sklearn.datasets
import torch
from PIL import Image
from sklearn.model_selection import train_test_split
from tiny import BERT, VIT
from transformers import AutoImageProcessor, AutoTokenizer

from compressor.measure import launch

RETRAIN = {"steps": 3, "batch_size": 8, "lr": 1e-3}
STAGES = [
    {"stage": "finetune", "retrain": RETRAIN},
    {"stage": "project", "widths": ["*.ffn"], "column_sparsity": 0.5, "rounds": 1, "retrain": RETRAIN},
    {"stage": "shrink"},
    {"stage": "export"},
    {"stage": "quantize"},
]
BENCH = {"lengths": [8], "meter": "auto"}


def _recipe(task, config, dataset, processor=None):
    model = {"task": task, "config": config, **({"processor": str(processor)} if processor else {})}
    return {"model": model, "data": {"dataset": str(dataset), "held_out": 0.1}, "stages": STAGES, "bench": BENCH}


RECIPES = {
    "text-classification": lambda bert, csv: _recipe(
        "text-classification", {"model_type": "bert", "vocab_size": 22, **BERT}, csv, processor=bert
    ),
    "image-classification": lambda bert, csv: _recipe(
        "image-classification", {"model_type": "vit", **VIT}, "sklearn:digits"
    ),
    "tabular-classification": lambda bert, csv: _recipe(
        "tabular-classification", {"model_type": "mlp", "hidden_sizes": [16, 12]}, "sklearn:wine"
    ),
}


def _texts(run, report):
    rows = datasets.load_dataset("csv", data_files=report["recipe"]["data"]["dataset"])["train"]
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0)).tolist()
    taken = rows.select(order[: round(0.1 * len(rows))])
    tokenizer = AutoTokenizer.from_pretrained(run / "04-quantize")
    inputs = [dict(tokenizer([text], return_tensors="np")) for text in taken["sentence"]]
    return inputs, np.array([["negative", "positive"].index(word) for word in taken["label"]])


def _toy(name):
    toy = getattr(sklearn.datasets, f"load_{name}")()
    parts = train_test_split(range(len(toy.target)), test_size=0.2, stratify=toy.target, random_state=0)
    return toy, parts[1]


def _images(run, report):
    toy, part = _toy("digits")
    processor = AutoImageProcessor.from_pretrained(run / "04-quantize")
    drawn = [Image.fromarray((toy.images[i] * (255 / 16)).round().astype("uint8")) for i in part]
    return [dict(processor([image], return_tensors="np")) for image in drawn], toy.target[part]


def _rows(run, report):
    toy, part = _toy("wine")
    return [{"features": toy.data[[i]].astype(np.float32)} for i in part], toy.target[part]


ROWS = {"text-classification": _texts, "image-classification": _images, "tabular-classification": _rows}


def measure_briefly(patch):
    """Let runs measure for a moment, without a meter: no test asserts how long anything takes."""
    measure = launch.measure
    patch.setattr(launch, "measure", lambda plan: measure(plan | {"seconds": 0.2, "meter": "none"}))


def labelled_rows(task, run, report):
    """Give the reported rows as inputs of batch one, and their labels."""
    return ROWS[task](run, report)
