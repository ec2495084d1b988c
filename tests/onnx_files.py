"""ONNX files for tests: made by hand, written in onnx's text form, and exported from tiny networks."""

from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tiny import arch_of, bare_context, task_of

from compressor.model import Model, Task
from compressor.stages import export, quantize

N_WORDS = 12
HEADER = '<ir_version: 10, opset_import: ["" : {}, "ai.onnx.ml" : 3, "com.microsoft" : 1, "mine" : 1]>'


def classifier(path: Path, seed: int = 0, **saved: Any) -> Path:
    """Write a text classifier of twelve words, as small as one can be."""
    rng = np.random.default_rng(seed)
    nodes = [
        helper.make_node("Gather", ["words", "input_ids"], ["hidden"]),
        helper.make_node("ReduceMax", ["hidden"], ["pooled"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["pooled", "head"], ["logits"]),
    ]
    weights = {"words": rng.standard_normal((N_WORDS, 4)), "head": rng.standard_normal((4, 2))}
    inputs = [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "length"])]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])]
    initializers = [numpy_helper.from_array(each.astype(np.float32), name) for name, each in weights.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path, **saved)
    return path


def write(file, text, weights=(), opset=18):
    """Write a graph in onnx's text form, with arrays as its weights."""
    proto = onnx.parser.parse_model(HEADER.format(opset) + text)
    for name, array in dict(weights).items():
        proto.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    onnx.save(proto, file)
    return file


def model_of(net):
    """Give a network its task, with every input that it takes."""
    name, labels, processor, inputs, *rest = task_of(net)
    takes_segments = name == "text-classification" and getattr(net.config, "type_vocab_size", 0)
    if takes_segments and "token_type_ids" in signature(net.forward).parameters:
        inputs = (*inputs, "token_type_ids")
    return Model(net, arch_of(net), Task(name, labels, processor, inputs, *rest))


def exported(net, folder):
    """Export a network, and quantize it beside that."""
    folder.mkdir(exist_ok=True)
    context = bare_context(folder)
    graph = export.run(model_of(net), export.Options(stage="export"), context)
    return graph.path, quantize.run(graph, quantize.Options(stage="quantize"), context).path
