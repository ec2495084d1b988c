import numpy as np
import onnx
import onnxruntime
import pytest
from onnxscript import ir
from onnxscript.ir.passes.common import ShapeInferencePass

from compressor.graphs.rewrite import rewrite_

LAYER = """
    <ir_version: 10, opset_import: ["": 23]>
    layer (float[batch, length, 8] x, bool[batch, 1, length, length] mask, float[8, 8] w, float[8] b) => (RESULT)
    {
        apart = Constant<value_ints = [0, 0, 2, 4]>()
        together = Constant<value_ints = [0, 0, 8]>()
        query = MatMul(x, w)
        query_apart = Reshape(query, apart)
        query_heads = Transpose<perm = [0, 2, 1, 3]>(query_apart)
        key_apart = Reshape(x, apart)
        key_heads = Transpose<perm = [0, 2, 1, 3]>(key_apart)
        value = Add(x, b)
        value_apart = Reshape(value, apart)
        value_heads = Transpose<perm = [0, 2, 1, 3]>(value_apart)
        heads = Attention<scale = 0.7>(query_heads, key_heads, value_heads, mask)
        heads_last = Transpose<perm = [0, 2, 1, 3]>(heads)
        attended = Reshape(heads_last, together)
        residual = Add(attended, x)
        hidden = LayerNormalization<axis = -1>(residual, b, b)
        product = MatMul(hidden, w)
        active = Gelu(product)
        last = Add(active, hidden)
        zero = Constant<value = int64 {0}>()
        one = Constant<value = int64 {1}>()
        axis = Constant<value_ints = [1]>()
        END
    }
"""
ROW, ROWS = "float[batch, 8] y", "float[batch, length, 8] y"
FIRST = (ROW, "y = Gather<axis = 1>(last, zero)")
READS_MORE = {
    "the second row": (ROW, "y = Gather<axis = 1>(last, one)"),
    "the mean": (ROW, "y = ReduceMean<keepdims = 0>(last, axis)"),
    "all rows": (ROWS, "y = Identity(last)"),
    "the first row and all": (
        ROWS,
        "first = Gather<axis = 1>(last, zero) row = Unsqueeze(first, axis) y = Add(last, row)",
    ),
}


def layer(result, end, text=LAYER):
    model = ir.from_onnx_text(text.replace("RESULT", result).replace("END", end))
    ShapeInferencePass()(model)
    return model


def outputs(model, batch_size, length):
    random = np.random.default_rng(length)
    feeds = {
        "x": random.standard_normal((batch_size, length, 8), dtype=np.float32),
        "mask": np.broadcast_to(random.random((batch_size, 1, 1, length)) < 0.7, (batch_size, 1, length, length)),
        "w": random.standard_normal((8, 8), dtype=np.float32),
        "b": random.standard_normal(8, dtype=np.float32),
    }
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    return onnxruntime.InferenceSession(proto.SerializeToString()).run(None, feeds)[0]


def op_types(model):
    return [node.op_type for node in model.graph]


def n_rows(model, name):
    (output,) = (node.outputs[0] for node in model.graph if node.outputs[0].name == name)
    return output.shape[1]


@pytest.mark.parametrize(("result", "end"), [FIRST, *READS_MORE.values()], ids=["the first row", *READS_MORE])
def test_outputs_stay(result, end):
    rewritten = layer(result, end)
    rewrite_(rewritten)
    for batch_size, length in ((1, 2), (3, 7)):
        expected = outputs(layer(result, end), batch_size, length)
        np.testing.assert_allclose(outputs(rewritten, batch_size, length), expected, rtol=1e-5, atol=1e-6)


def test_attention_takes_heads_side_by_side():
    model = layer(*FIRST)
    rewrite_(model)
    assert not {"Transpose", "Reshape"} & set(op_types(model))
    (attention,) = (node for node in model.graph if node.op_type == "Attention")
    assert {name: attention.attributes[name].value for name in ("q_num_heads", "kv_num_heads", "scale")} == {
        "q_num_heads": 2,
        "kv_num_heads": 2,
        "scale": pytest.approx(0.7),
    }


def test_attention_whose_heads_are_read_elsewhere_stays():
    result, end = "float[batch, 2, length, 4] y", "y = Identity(heads)"
    model = layer(result, end)
    rewrite_(model)
    assert op_types(model).count("Transpose") == 3
    np.testing.assert_array_equal(outputs(model, 2, 3), outputs(layer(result, end), 2, 3))


def test_attention_whose_heads_come_from_elsewhere_stays():
    text = LAYER.replace("Transpose<perm = [0, 2, 1, 3]>(value_apart)", "Abs(key_heads)")
    model, expected = layer(*FIRST, text), outputs(layer(*FIRST, text), 2, 3)
    rewrite_(model)
    assert op_types(model).count("Transpose") == 3
    np.testing.assert_allclose(outputs(model, 2, 3), expected, rtol=1e-5, atol=1e-6)


def test_only_rows_that_are_read_are_computed():
    model = layer(*FIRST)
    rewrite_(model)
    assert {n_rows(model, name) for name in ("query", "heads", "residual", "hidden", "product", "active", "last")} == {
        1
    }
    assert str(n_rows(model, "value")) == "length"
    assert op_types(model).count("Gather") == 4  # of x twice, of the mask, and the one that was there


@pytest.mark.parametrize(("result", "end"), READS_MORE.values(), ids=READS_MORE)
def test_rows_stay_where_more_than_the_first_is_read(result, end):
    model = layer(result, end)
    n_gathers = op_types(model).count("Gather")
    rewrite_(model)
    assert op_types(model).count("Gather") == n_gathers


def test_onnxruntime_fuses_no_normalization_with_the_sum_before_it(tmp_path):
    rewritten = layer(*FIRST)
    rewrite_(rewritten)
    for model, op_type in ((layer(*FIRST), "SkipLayerNormalization"), (rewritten, "LayerNormalization")):
        settings = onnxruntime.SessionOptions()
        settings.optimized_model_filepath = str(tmp_path / "optimized.onnx")
        settings.log_severity_level = 3
        onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), settings)
        assert op_type in op_types(ir.load(tmp_path / "optimized.onnx"))
