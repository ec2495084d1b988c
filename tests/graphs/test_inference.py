"""The quantizer writes the same file with shapes that are inferred in place as it does by itself."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quant_utils, quantize_dynamic

from compressor.graphs import inference


def network():
    """Make an embedding and two products, with weights that are large, small, and shared."""
    rng = np.random.default_rng(0)
    shapes = {"table": (64, 32), "square": (32, 32), "head": (32, 2), "bias": (2,)}
    tensors = [numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), n) for n, shape in shapes.items()]
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["embedded"]),
        helper.make_node("MatMul", ["embedded", "square"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "square"], ["again"]),
        helper.make_node("MatMul", ["again", "head"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["logits"]),
    ]
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "length"])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "length", 2])
    graph = helper.make_graph(nodes, "g", [ids], [logits], tensors)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    helper.set_model_props(proto, {"key": "value"})
    return proto


def quantized(path):
    settings = {"per_channel": True, "weight_type": QuantType.QInt8}
    quantize_dynamic(network(), path, ["MatMul", "Gather"], **settings)
    return path.read_bytes()


def test_the_quantized_file_is_the_same(tmp_path):
    expected = quantized(tmp_path / "theirs.onnx")
    with inference.shapes_in_place():
        assert quantized(tmp_path / "ours.onnx") == expected


def test_the_function_that_is_replaced_is_the_one_of_this_onnxruntime(tmp_path):
    theirs = getattr(quant_utils, inference.FUNCTION)(network())
    ours = inference.infer_(network())
    assert ours.SerializeToString(deterministic=True) == theirs.SerializeToString(deterministic=True)
    assert {each.name for each in ours.graph.value_info} == {"embedded", "hidden", "again", "product"}
    assert onnx.load_from_string(ours.SerializeToString()) == theirs
