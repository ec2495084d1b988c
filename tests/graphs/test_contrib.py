"""Operations of onnxruntime's own: written as standard ones they have the shapes that onnxruntime gives them."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx_files import write

from compressor.graphs import contrib, flops, shapes

SCALE, ZERO, ZERO8 = np.float32(0.1), np.uint8(0), np.int8(0)
CASES = {  # declared inputs, the operation, weights, FLOPs by hand
    "BiasGelu": ("float[n, 5, 6] x", "BiasGelu (x, w)", {"w": np.zeros(6, np.float32)}, 0),
    "FastGelu": ("float[n, 5] x", "FastGelu (x)", {}, 0),
    "Gelu": ("float[n, 5] x", "Gelu (x)", {}, 0),
    "QuickGelu": ("float[n, 5] x", "QuickGelu (x)", {}, 0),
    "DynamicQuantizeMatMul": (
        "float[n, 5, 6] x",
        "DynamicQuantizeMatMul (x, w, s)",
        {"w": np.ones((6, 7), np.int8), "s": SCALE},
        2 * 2 * 5 * 6 * 7,
    ),
    "MatMulIntegerToFloat": (
        "uint8[n, 5, 6] x",
        "MatMulIntegerToFloat (x, w, s, s)",
        {"w": np.ones((6, 7), np.int8), "s": SCALE},
        2 * 2 * 5 * 6 * 7,
    ),
    "FusedConv": (
        "float[n, 3, 8, 8] x",
        'FusedConv <activation = "Relu", strides = [2, 2]> (x, w)',
        {"w": np.zeros((4, 3, 3, 3), np.float32)},
        2 * 2 * 3 * 3 * 4 * 27,
    ),
    "FusedGemm": (
        "float[n, 6] x",
        'FusedGemm <activation = "Relu", transB = 1> (x, w, b)',
        {"w": np.zeros((7, 6), np.float32), "b": np.zeros(7, np.float32)},
        2 * 2 * 6 * 7,
    ),
    "FusedMatMul": (
        "float[n, 4, 5, 6] x, float[n, 4, 7, 6] k",
        "FusedMatMul <alpha = 0.5, transB = 1> (x, k)",
        {},
        2 * 2 * 4 * 5 * 6 * 7,
    ),
    "QGemm": (
        "uint8[n, 6] x",
        "QGemm <transB = 1> (x, s, z, w, s, z8, , s, z)",
        {"w": np.ones((7, 6), np.int8), "s": SCALE, "z": ZERO, "z8": ZERO8},
        2 * 2 * 6 * 7,
    ),
    "QLinearAdd": (
        "uint8[n, 5, 6] x",
        "QLinearAdd (x, s, z, w, s, z, s, z)",
        {"w": np.ones(6, np.uint8), "s": SCALE, "z": ZERO},
        0,
    ),
    "QLinearMul": (
        "uint8[n, 5, 6] x",
        "QLinearMul (x, s, z, w, s, z, s, z)",
        {"w": np.ones((4, 1, 5, 1), np.uint8), "s": SCALE, "z": ZERO},
        0,
    ),
    "QLinearConcat": (
        "uint8[n, 5] x, uint8[n, 3] k",
        "QLinearConcat <axis = 1> (s, z, x, s, z, k, s, z)",
        {"s": SCALE, "z": ZERO},
        0,
    ),
    "QLinearAveragePool": (
        "uint8[n, 3, 8, 8] x",
        "QLinearAveragePool <kernel_shape = [3, 3], strides = [2, 2]> (x, s, z, s, z)",
        {"s": SCALE, "z": ZERO},
        0,
    ),
    "QLinearGlobalAveragePool": (
        "uint8[n, 3, 8, 8] x",
        "QLinearGlobalAveragePool (x, s, z, s, z)",
        {"s": SCALE, "z": ZERO},
        0,
    ),
    "QLinearSigmoid": ("uint8[n, 5] x", "QLinearSigmoid (x, s, z, s, z)", {"s": SCALE, "z": ZERO}, 0),
    "SkipLayerNormalization": (
        "float[n, 5, 6] x, float[n, 5, 6] k",
        "SkipLayerNormalization (x, k, w)",
        {"w": np.ones(6, np.float32)},
        0,
    ),
    "Attention": (
        "float[n, 5, 6] x",
        "Attention <num_heads = 2> (x, w, b)",
        {"w": np.zeros((6, 24), np.float32), "b": np.zeros(24, np.float32)},
        2 * 2 * (5 * 6 * 24 + 2 * 5 * 5 * 8),
    ),
    "Attention with sizes": (
        "float[n, 5, 6] x",
        "Attention <num_heads = 2, qkv_hidden_sizes = [8, 8, 12]> (x, w, b)",
        {"w": np.zeros((6, 28), np.float32), "b": np.zeros(28, np.float32)},
        2 * 2 * (5 * 6 * 28 + 5 * 5 * 8 + 5 * 5 * 12),
    ),
    "QAttention": (
        "uint8[n, 5, 6] x",
        "QAttention <num_heads = 2> (x, w, b, s, s, , z, z8)",
        {
            "w": np.ones((6, 24), np.int8),
            "b": np.zeros(24, np.float32),
            "s": SCALE,
            "z": ZERO,
            "z8": ZERO8,
        },
        2 * 2 * (5 * 6 * 24 + 2 * 5 * 5 * 8),
    ),
    "MultiHeadAttention": (
        "float[n, 5, 8] x, float[n, 7, 8] k, float[n, 7, 12] v",
        "MultiHeadAttention <num_heads = 2> (x, k, v)",
        {},
        2 * 2 * 5 * 7 * (8 + 12),
    ),
    "MatMulNBits": (
        "float[n, 32] x",
        "MatMulNBits <K = 32, N = 7, bits = 4, block_size = 16> (x, w, s)",
        {"w": np.zeros((7, 2, 8), np.uint8), "s": np.ones(14, np.float32)},
        2 * 2 * 32 * 7,
    ),
    "DynamicQuantizeLSTM": (
        "float[n, 3, 10] x",
        "DynamicQuantizeLSTM <hidden_size = 6> (x, w, r, , , , , , ws, wz, ws, wz)",
        {
            "w": np.ones((1, 10, 24), np.int8),
            "r": np.ones((1, 6, 24), np.int8),
            "ws": np.ones(1, np.float32),
            "wz": np.zeros(1, np.int8),
        },
        2 * 2 * 3 * 4 * 6 * (10 + 6),
    ),
    "EmbedLayerNormalization": (
        "int32[n, length] x, int32[n, length] k",
        "EmbedLayerNormalization (x, k, tokens, places, kinds, w, w)",
        {
            "tokens": np.zeros((50, 6), np.float32),
            "places": np.zeros((12, 6), np.float32),
            "kinds": np.zeros((2, 6), np.float32),
            "w": np.ones(6, np.float32),
        },
        0,
    ),
}
NUMBERS: dict[str, Any] = {"float": np.float32, "uint8": np.uint8, "int32": np.int32}


@pytest.fixture(params=CASES)
def case(request, tmp_path):
    declared, operation, weights, n_flops = CASES[request.param]
    made = "y, mask" if operation.startswith("EmbedLayer") else "y"
    text = f"g ({declared}) => (y) {{ {made} = com.microsoft.{operation} }}"
    return write(tmp_path / "graph.onnx", text, weights), n_flops


def test_shapes_and_flops(case):
    file, n_flops = case
    proto = shapes.skeleton(file)
    inputs: dict[str, Any] = {**shapes.at(proto, 2, 4)}
    steps = list(shapes.walk(proto, inputs))
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    session = onnxruntime.InferenceSession(file, settings, providers=["CPUExecutionProvider"])
    types = {each.name: NUMBERS[each.type.removeprefix("tensor(").removesuffix(")")] for each in session.get_inputs()}
    result = session.run(None, {name: np.zeros(value.shape, types[name]) for name, value in inputs.items()})[0]
    made: dict[str, Any] = {
        name: value for step in steps for name, value in zip(step.node.output, step.outputs, strict=True)
    }
    assert made["y"].shape == result.shape
    assert made["y"].type.tensor_type.elem_type == onnx.helper.np_dtype_to_tensor_dtype(result.dtype)
    assert flops.count(file, 2, 4) == n_flops


def test_every_operation_has_a_case():
    known = {*contrib.OF_THE_FIRST, *contrib.SAME, *contrib.WRITERS}
    alike = {
        "FusedMatMulActivation",
        "QEmbedLayerNormalization",
        "QLinearLeakyRelu",
        "QLinearSoftmax",
        "RotaryEmbedding",
        "SimplifiedLayerNormalization",
        "SkipSimplifiedLayerNormalization",
    }
    assert known - alike == {name.partition(" ")[0] for name in CASES}
