"""Weights that move into the file are where onnx itself would write them."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from compressor.graphs.inline import inline_


def model(sizes):
    """Make a graph that adds up tensors of these sizes; long names and metadata lengthen the fields around them."""
    rng = np.random.default_rng(0)
    tensors = [numpy_helper.from_array(rng.normal(size=size).astype(np.float32), f"w{i}" * 30) for i, size in sizes]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None])]
    nodes = [helper.make_node("Sum", ["x", *(tensor.name for tensor in tensors)], ["y"])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, tensors, value_info=inputs)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    helper.set_model_props(proto, {"key": "value"})
    return proto


@pytest.mark.parametrize("sizes", [[(1, 64)], [(0, 1), (1, 300), (2, 70_000), (3, 2), (4, 0)]])
def test_the_file_is_the_one_that_onnx_writes(tmp_path, sizes):
    whole, apart = tmp_path / "whole.onnx", tmp_path / "apart.onnx"
    onnx.save(model(sizes), whole)
    onnx.save(model(sizes), apart, save_as_external_data=True, location="weights", size_threshold=256)
    weights = tmp_path / "weights"
    assert weights.stat().st_size > 0
    inline_(apart, weights)
    assert apart.read_bytes() == whole.read_bytes()
    assert not weights.exists()
