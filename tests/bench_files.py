"""Small ONNX files and plans for the bench, which needs no torch."""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

N_WORDS = 12


def save_graph(
    path: Path, nodes: list[onnx.NodeProto], inputs: list[onnx.ValueInfoProto], **weights: np.ndarray
) -> None:
    graph = helper.make_graph(
        nodes,
        "tiny",
        inputs,
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)


def text_model(path: Path, length: int | str = "length") -> Path:
    """Word embeddings, a maximum over the words, a head; the mask is declared as exporters declare it."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Gather", ["words", "input_ids"], ["hidden"]),
        helper.make_node("ReduceMax", ["hidden"], ["pooled"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["pooled", "head"], ["logits"]),
    ]
    names = ("input_ids", "attention_mask", "token_type_ids")
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", length]) for name in names]
    save_graph(path, nodes, inputs, words=rng.standard_normal((N_WORDS, 4)), head=rng.standard_normal((4, 2)))
    return path


def image_model(path: Path, side: int | str = 8) -> Path:
    nodes = [
        helper.make_node("GlobalMaxPool", ["pixel_values"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "head"], ["logits"]),
    ]
    pixels = helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["batch", 3, side, side])
    save_graph(path, nodes, [pixels], head=np.ones((3, 2)))
    return path


def write_plan(folder: Path, **changes: object) -> Path:
    """Write a plan over two files, too short to tell anything apart."""
    for name in ("dense.onnx", "small.onnx"):
        text_model(folder / name)
    variants = [
        {"name": "original fp32", "kind": "original", "file": "dense.onnx", "accuracy": 0.9, "n_flops": {"1x4": 64}},
        {"name": "compressed fp32", "kind": "result", "file": "small.onnx", "accuracy": 0.8},
    ]
    plan = {"format": 1, "variants": variants, "lengths": [4, 6], "threads": [1], "seconds": 0.01, "meter": "none"}
    path = folder / "plan.json"
    path.write_text(json.dumps(plan | changes))
    return path
