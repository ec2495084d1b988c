"""The damage of single layers, and the fewest that must stay in float."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from compressor.graphs import sensitivity
from compressor.quantizers import Settings, static


def test_a_product_with_outliers_is_the_worst():
    """Three channels of what the second product reads are 100 times as large, and its weights for them as small."""
    rng = np.random.default_rng(0)
    first, second, third = (rng.standard_normal((16, 16)).astype(np.float32) / 4 for _ in range(3))
    first[:, :3] *= 100
    second[:3] /= 100
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["a"], name="first"),
        helper.make_node("MatMul", ["a", "second"], ["b"], name="second"),
        helper.make_node("MatMul", ["b", "third"], ["y"], name="third"),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 16])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 16])
    tensors = [numpy_helper.from_array(w, name) for name, w in (("first", first), ("second", second), ("third", third))]

    def proto():
        graph = helper.make_graph(nodes, "g", [x], [y], tensors)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)

    rows = [{"x": rng.standard_normal((32, 16)).astype(np.float32)}]
    layers = static.layers(proto())
    assert layers == ["first", "second", "third"]

    def quantize(left):
        return static.quantize(proto(), Settings(rows=rows, left=left))

    found = dict(sensitivity.damages(proto(), layers, quantize, rows))
    assert max(found, key=lambda layer: found[layer]) == "second"
    assert found["second"] > 5 * max(found["first"], found["third"])


@given(st.integers(1, 40), st.data())
def test_the_fewest_layers_are_found_with_few_questions(n_layers, data):
    needed = data.draw(st.integers(1, n_layers))
    asked = []

    def is_enough(left):
        asked.append(left)
        return len(left) >= needed

    damage = {str(layer): -float(layer) for layer in range(n_layers)}
    left = sensitivity.fewest_left(damage, is_enough)
    assert left == {str(layer) for layer in range(needed)}
    assert len(asked) <= 2 * math.log2(n_layers) + 2


def test_if_all_layers_are_not_enough_it_says_so():
    assert sensitivity.fewest_left({"a": 1.0, "b": 2.0}, lambda left: False) is None


@pytest.mark.parametrize("is_planted", [True, False])
def test_saturation_is_found_by_numbers(is_planted, monkeypatch):
    from compressor.graphs import saturation

    class Session:
        def __init__(self, *args, **kwargs):
            pass

        def run(self, _, feed):
            exact = feed["data"].astype(np.int64) @ feed["weight"].astype(np.int64)
            return [np.minimum(exact, 32767 * 32 if is_planted else exact)]

    saturation.saturates.cache_clear()
    monkeypatch.setattr("compressor.graphs.saturation.onnxruntime.InferenceSession", Session)
    assert saturation.saturates() is is_planted
    saturation.saturates.cache_clear()
