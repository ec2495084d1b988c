"""Four bits in the file: values, bytes, and what cannot be packed."""

import hypothesis.extra.numpy as hnp
import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from compressor.errors import InputError
from compressor.graphs import packing
from compressor.quantizers import Settings, dynamic, static

rng = np.random.default_rng(0)
TABLE = rng.standard_normal((32, 16)).astype(np.float32)
WEIGHT = rng.standard_normal((16, 5)).astype(np.float32)
IDS = np.arange(32).reshape(2, 16)


def classifier(opset=21):
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"], name="lookup"),
        helper.make_node("Relu", ["rows"], ["positive"]),  # the library computes nothing between Gather and MatMul
        helper.make_node("MatMul", ["positive", "weight"], ["y"], name="product"),
    ]
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "length"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "length", 5])
    tensors = [numpy_helper.from_array(TABLE, "table"), numpy_helper.from_array(WEIGHT, "weight")]
    graph = helper.make_graph(nodes, "g", [ids], [y], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def _eight_bits():
    """Weights as the quantizers round them to 8 bits."""
    scales = np.abs(WEIGHT).max(axis=0) / np.float32(127)
    return np.rint(WEIGHT / scales).astype(np.float32) * scales


def run(proto):
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"ids": IDS})[0]


@given(hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.floats(-100, 100)))
def test_four_bits_are_in_range_and_no_worse_than_the_plain_scale(rows):
    integers, scales = packing.four_bits(rows)
    assert np.abs(integers).max(initial=0) <= 7
    plain = np.abs(rows).max(axis=1, keepdims=True) / 7
    plain[plain == 0] = 1
    worst = np.square(np.clip(np.rint(rows / plain), -7, 7) * plain - rows).sum(axis=1)
    found = np.square(integers * scales.astype(np.float64) - rows).sum(axis=1)
    assert (found <= worst * (1 + 1e-4) + 1e-9).all()


def test_a_table_of_four_bits_gives_its_rounded_rows():
    proto = classifier()
    packing.pack_embeddings_(proto)
    integers, scales = packing.four_bits(TABLE)
    expected = np.maximum(integers * scales.astype(np.float16).astype(np.float32), 0)[IDS] @ WEIGHT
    np.testing.assert_allclose(run(proto), expected, rtol=1e-5, atol=1e-5)
    sizes = {each.name: len(each.raw_data) for each in proto.graph.initializer}
    assert sizes["table_packed"] == TABLE.size / 2
    assert "table" not in sizes


@pytest.mark.parametrize("quantizer", [dynamic, static])
def test_products_of_four_bits_in_the_file_run_in_eight(quantizer, tmp_path):
    proto = quantizer.quantize(classifier(), Settings(rows=[{"ids": IDS}]))
    packing.pack_products_(proto)
    packed = next(each for each in proto.graph.initializer if each.data_type == TensorProto.INT4)
    assert len(packed.raw_data) == WEIGHT.size / 2
    np.testing.assert_array_equal(
        numpy_helper.to_array(packed).astype(np.int8), packing.four_bits(_eight_bits().T)[0].T
    )
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.optimized_model_filepath = 4, str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    kernels = {node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node}
    assert kernels & {"MatMulIntegerToFloat", "DynamicQuantizeMatMul"}
    assert "MatMulInteger" not in kernels
    expected = np.maximum(TABLE[IDS], 0) @ WEIGHT
    assert np.linalg.norm(run(proto) - expected) < 0.15 * np.linalg.norm(expected)


def test_old_opsets_and_graphs_without_products_are_refused():
    with pytest.raises(InputError, match="storage_bits: 4: needs opset 21, the graph has 18"):
        packing.pack_products_(classifier(18))
    with pytest.raises(InputError, match="embeddings: int4: needs opset 18, the graph has 13"):
        packing.pack_embeddings_(classifier(13))
    with pytest.raises(InputError, match="no integer product"):
        packing.pack_products_(classifier())
    proto = classifier()
    packing.pack_embeddings_(proto)
    with pytest.raises(InputError, match="no table"):
        packing.pack_embeddings_(proto)
