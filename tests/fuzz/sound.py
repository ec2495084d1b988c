"""Sound inputs, from which spoiled ones are made: a checkpoint, data, recipes, ONNX files and a finished run."""

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

WORDS = (
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "the", "film", "plot", "cast", "is", "was", "good", "bright"),
    *("warm", "bad", "dull", "cold", "very", "not", "##ly"),
)
KINDS = {"negative": ("bad", "dull", "cold"), "positive": ("good", "bright", "warm")}
RETRAIN = {"steps": 2, "batch_size": 8, "lr": 1e-3}
TEXTS: dict[str, Any] = {
    "seed": 0,
    "model": {"checkpoint": "bert", "task": "text-classification"},
    "data": {"dataset": "reviews.csv", "held_out": 0.1, "max_length": 16},
    "stages": [
        {"stage": "project", "column_sparsity": 0.5, "rounds": 1, "retrain": RETRAIN, "widths": ["*.ffn"]},
        {"stage": "shrink"},
        {"stage": "export"},
        {"stage": "quantize"},
    ],
    "bench": {"lengths": [8], "meter": "none"},
    "gates": {"max_accuracy_drop": 1.0},
}
TABLE: dict[str, Any] = {
    "seed": 1,
    "model": {"config": {"model_type": "mlp", "hidden_sizes": [8, 6]}, "task": "tabular-classification"},
    "data": {"dataset": "table.csv", "held_out": 0.1},
    "stages": [
        {"stage": "finetune", "retrain": RETRAIN},
        {"stage": "project", "column_sparsity": 0.5, "rounds": 1, "retrain": RETRAIN},
    ],
}
IMAGES: dict[str, Any] = {
    "model": {
        "config": {
            "model_type": "vit",
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 24,
            "image_size": 8,
            "patch_size": 4,
        },
        "task": "image-classification",
    },
    "data": {"dataset": "images", "held_out": 0.2},
    "stages": [{"stage": "finetune", "retrain": RETRAIN}],
}
RECIPES = {"recipe.yaml": TEXTS, "table.yaml": TABLE, "images.yaml": IMAGES}
PROFILE = {
    "format": 1,
    **{"cpu": "board", "meter": "pmic", "scope": "board", "active_w": 3.0, "joules_per_byte": 1e-9, "idle_w": 2.0},
    **{"n_files": 6, "error_fraction": 0.1, "cpu_s_low": 1e-5, "cpu_s_high": 1.0},
}


def make(home: Path) -> int:
    """Write all of them into a folder, which becomes the current one; give the exit code."""
    rows = [(f"the {noun} is {'very ' * n}{word}", label) for label in KINDS for word in KINDS[label]
            for noun in ("film", "plot", "cast") for n in range(3)]  # fmt: skip
    _write_tables(home, rows)
    _write_images(home / "images")
    _write_checkpoint(home / "bert")
    _write_graphs(home)
    for name, recipe in RECIPES.items():
        (home / name).write_text(json.dumps(recipe, indent=1))
    (home / "profile.yaml").write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in PROFILE.items()))
    _run(home)
    return 0


def measure_briefly() -> None:
    """Let runs measure for a moment only."""
    from compressor.measure import launch

    measure = launch.measure
    launch.measure = lambda plan: measure(plan | {"seconds": 0.05, "meter": "none"})


def _write_tables(home: Path, rows: list[tuple[str, str]]) -> None:
    import datasets

    text = io.StringIO()
    csv.writer(text).writerows([("sentence", "label"), *rows])
    (home / "reviews.csv").write_text(text.getvalue())
    records = [{"sentence": sentence, "label": label} for sentence, label in rows]
    (home / "reviews.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    datasets.Dataset.from_list(records).to_parquet(home / "reviews.parquet")
    lines = [f"{i},{(7 * i) % 13 - 4.5},{i % 3},{'yes' if i % 2 else 'no'}" for i in range(40)]
    (home / "table.csv").write_text("\n".join(["a,b,c,label", *lines]) + "\n")


def _write_images(home: Path) -> None:
    from PIL import Image

    for label, shade in (("dark", 20), ("light", 200)):
        (home / label).mkdir(parents=True)
        for index in range(8):
            Image.new("RGB", (8, 8), (shade + index, shade, shade)).save(home / label / f"{index}.png")


def _write_checkpoint(folder: Path) -> None:
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=12,
        max_position_embeddings=32,
        id2label=dict(enumerate(KINDS)),
        label2id={label: index for index, label in enumerate(KINDS)},
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    BertTokenizer(vocab={word: index for index, word in enumerate(WORDS)}).save_pretrained(folder)


def _write_graphs(home: Path) -> None:
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper, save

    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Gather", ["words", "input_ids"], ["hidden"]),
        helper.make_node("ReduceMax", ["hidden"], ["pooled"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["pooled", "head"], ["logits"]),
    ]
    weights = {"words": rng.standard_normal((12, 4)), "head": rng.standard_normal((4, 2))}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "length"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(each.astype(np.float32), name) for name, each in weights.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    save(helper.make_model(graph, opset_imports=opsets, ir_version=8), home / "words.onnx")
    np.savez(home / "inputs.npz", input_ids=rng.integers(0, 10, (4, 8)), labels=np.array([0, 1, 0, 1]))


def _run(home: Path) -> None:
    from compressor import cli

    measure_briefly()
    os.chdir(home)
    if code := cli.main(["--recipe", "recipe.yaml", "--run-dir", "run", "--json"]):
        raise RuntimeError(f"the sound run ended with exit code {code}")
    for name in RECIPES:
        if code := cli.main(["check", name, "--json"]):
            raise RuntimeError(f"the check of {name} ended with exit code {code}")
    (home / "run/lock").write_text("")
