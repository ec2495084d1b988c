"""Static int8: the same result alone and in a batch, integer kernels, and outliers."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx_files import model_of
from tiny import bare_context, tiny

from compressor.graphs.prepare import float_graph
from compressor.quantizers import Settings, dynamic, static
from compressor.stages import export


def session(proto, folder=None):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if folder is not None:
        options.optimized_model_filepath = str(folder / "optimized.onnx")
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def kernels(proto, folder):
    """Count the operations that onnxruntime runs."""
    session(proto, folder)
    return [node.op_type for node in onnx.load(folder / "optimized.onnx").graph.node]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    model = model_of(tiny("bert"))
    file = export.run(model, export.Options(stage="export"), bare_context(tmp_path_factory.mktemp("bert"))).path
    generator = torch.Generator().manual_seed(0)
    batch = model.task.inputs.example(model.task, model.net.config, 8, 24, generator)
    return file, {name: tensor.numpy() for name, tensor in batch.items()}


def alone(batch):
    """Yield each row without its padding."""
    for row in range(8):
        length = int(batch["attention_mask"][row].sum())
        yield {name: array[row : row + 1, :length] for name, array in batch.items()}


def test_logits_are_the_same_to_the_bit_alone_and_in_a_padded_batch(encoder):
    file, batch = encoder
    assert not batch["attention_mask"].all()
    for quantizer, is_same in ((static, True), (dynamic, False)):
        running = session(quantizer.quantize(float_graph(file), Settings(rows=list(alone(batch)))))
        together = running.run(None, batch)[0]
        single = np.concatenate([running.run(None, row)[0] for row in alone(batch)])
        assert np.array_equal(together, single) is is_same


def test_products_run_in_one_kernel_with_their_bias(encoder, tmp_path):
    file, batch = encoder
    found = kernels(static.quantize(float_graph(file), Settings(rows=list(alone(batch)))), tmp_path)
    assert found.count("MatMulIntegerToFloat") == 14
    assert not {"MatMulInteger", "MatMul", "Gemm", "Mul"} & set(found)
    assert found.count("Add") <= 1  # of embeddings; those of biases are in the kernels


def test_padding_does_not_count(encoder):
    file, batch = encoder
    rows = list(alone(batch))
    padded = [{name: array[row : row + 1] for name, array in batch.items()} for row in range(8)]
    made, other = (static.quantize(float_graph(file), Settings(rows=each)) for each in (rows, padded))
    assert made.SerializeToString() != other.SerializeToString()


def test_convolutions_and_sums_between_them_are_integers(tmp_path):
    model = model_of(tiny("resnet"))
    file = export.run(model, export.Options(stage="export"), bare_context(tmp_path)).path
    name, shape = float_graph(file).graph.input[0].name, session(float_graph(file)).get_inputs()[0].shape
    rows = [
        {name: np.random.default_rng(seed).standard_normal((1, *shape[1:])).astype(np.float32)} for seed in range(8)
    ]
    found = kernels(static.quantize(float_graph(file), Settings(rows=rows)), tmp_path)
    assert "Conv" not in found
    assert "QLinearConv" in found
    assert "QLinearAdd" in found


def products(scales, target="x86"):
    """A graph of one product whose inputs have these sizes."""
    weight = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "weight"], ["y"], name="product")]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])
    graph = helper.make_graph(nodes, "g", [x], [y], [numpy_helper.from_array(weight, "weight")])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    rows = [{"x": (np.random.default_rng(1).uniform(-1, 1, (16, 4)) * scales).astype(np.float32)}]
    return static.quantize(proto, Settings(rows=rows, target=target)), weight, rows[0]["x"]


@pytest.mark.parametrize("target", ["x86", "arm"])
def test_a_product_is_that_of_the_rounded_factors(target):
    proto, weight, data = products(np.ones(4), target)
    low, high = min(data.min(), 0), max(data.max(), 0)
    step = np.float32((high - low) / 255)
    zero_point = np.rint(-low / step)
    integers = np.clip(np.rint(data / step) + zero_point, 0, 255) - zero_point
    scales = np.abs(weight).max(axis=0) / 127
    expected = integers @ np.rint(weight / scales) * step * scales
    np.testing.assert_allclose(session(proto).run(None, {"x": data})[0], expected, rtol=1e-5, atol=1e-6)
    kind = {each.name: each.data_type for each in proto.graph.initializer}["x_int8_zero_point"]
    assert kind == (TensorProto.INT8 if target == "arm" else TensorProto.UINT8)


def test_a_matrix_of_two_products_is_stored_once():
    weight = np.eye(4, dtype=np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "weight"], ["hidden"], name="first"),
        helper.make_node("MatMul", ["hidden", "weight"], ["y"], name="second"),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])
    graph = helper.make_graph(nodes, "g", [x], [y], [numpy_helper.from_array(weight, "weight")])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    data = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)
    made = static.quantize(proto, Settings(rows=[{"x": data}]))
    assert [each.name for each in made.graph.initializer].count("weight_int8") == 1
    np.testing.assert_allclose(session(made).run(None, {"x": data})[0], data, atol=0.02)
