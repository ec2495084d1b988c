"""FLOPs of ONNX files: against torch's count of the same network, against onnxruntime's shapes, and by hand."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import defs
from onnx_files import exported, write
from tiny import TINY, tiny
from torch.utils.flop_counter import FlopCounterMode

from compressor.errors import InputError
from compressor.graphs import flops
from compressor.model.outputs import flops_by_module
from compressor.stages import export

SHAPES = ((1, 8), (3, 17))
PRODUCTS_OF_WEIGHTS = {"deberta-v2": 2 * 2 * 2 * 8 * 32 * 32}  # 2 layers project 8 relative positions twice: folded


def zeros(*shape):
    return np.zeros(shape, np.float32)


def fast(families, few):
    return [family if family in few else pytest.param(family, marks=pytest.mark.slow) for family in families]


@pytest.fixture(scope="module")
def bert_files(tmp_path_factory):
    return exported(tiny("bert"), tmp_path_factory.mktemp("flops"))


@pytest.mark.parametrize("family", fast(TINY, ("bert", "mlp", "resnet")))
def test_a_file_has_the_flops_of_the_network(family, tmp_path, monkeypatch):
    """All but what the exporter computes beforehand; without the rewrites that leave out what nobody reads."""
    monkeypatch.setattr(export, "rewrite_", lambda model: None)
    net = tiny(family)
    for file in exported(net, tmp_path / "model"):
        for batch_size, length in SHAPES:
            expected = flops_by_module(net, batch_size, length)[""] - PRODUCTS_OF_WEIGHTS.get(family, 0)
            assert flops.count(file, batch_size, length) == expected


@pytest.mark.parametrize(("batch_size", "length"), SHAPES)
def test_rows_that_nobody_reads_are_not_counted(batch_size, length, bert_files):
    """The last layer computes one row: query, scores, values, output and both layers of the FFN."""
    a_row = 2 * (32 * 32 + length * 32 + length * 32 + 32 * 32 + 2 * 32 * 24)
    expected = flops_by_module(tiny("bert"), batch_size, length)[""] - batch_size * (length - 1) * a_row
    assert [flops.count(file, batch_size, length) for file in bert_files] == [expected, expected]


@pytest.mark.parametrize("level", ["ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED"])
def test_what_onnxruntime_makes_of_a_file_has_as_many(level, bert_files, tmp_path):
    for file in bert_files:
        settings = onnxruntime.SessionOptions()
        settings.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        settings.optimized_model_filepath = str(tmp_path / "optimized.onnx")
        settings.log_severity_level = 3
        onnxruntime.InferenceSession(file, settings, providers=["CPUExecutionProvider"])
        for shape in SHAPES:
            assert flops.count(tmp_path / "optimized.onnx", *shape) == flops.count(file, *shape)


def test_a_perceptron_by_hand(tmp_path):
    text = """g (float[n, 10] x) => (float[n, 3] y) {
        h = Gemm <transB = 1> (x, w1, b1)
        r = Relu (h)
        y = MatMul (r, w2)
    }"""
    file = write(tmp_path / "mlp.onnx", text, {"w1": zeros(16, 10), "b1": zeros(16), "w2": zeros(16, 3)})
    assert flops.count(file, 1, None) == 2 * (10 * 16 + 16 * 3)
    assert flops.count(file, 7, None) == 7 * 2 * (10 * 16 + 16 * 3)


def test_a_convolutional_network_by_hand(tmp_path):
    """3x3 with stride 2 over 8x8, padded: 4x4; depthwise 3x3, unpadded: 2x2; then pooled, and three classes."""
    text = """g (float[n, 3, 8, 8] x) => (float[n, 3] y) {
        a = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (x, w1)
        b = Conv <group = 6> (a, w2)
        p = GlobalAveragePool (b)
        f = Flatten (p)
        y = Gemm (f, w3)
    }"""
    file = write(tmp_path / "cnn.onnx", text, {"w1": zeros(6, 3, 3, 3), "w2": zeros(6, 1, 3, 3), "w3": zeros(6, 3)})
    assert flops.count(file, 2, None) == 2 * 2 * (16 * 6 * 3 * 9 + 4 * 6 * 9 + 6 * 3)


QUANTIZED = {
    "MatMulInteger (x, w)": ("uint8[n, 5, 6] x", (6, 7), 5 * 6 * 7),
    "QLinearMatMul (x, s, z, w, s, z8, s, z)": ("uint8[n, 5, 6] x", (6, 7), 5 * 6 * 7),
    "ConvInteger (x, w)": ("uint8[n, 3, 8, 8] x", (4, 3, 3, 3), 6 * 6 * 4 * 27),
    "QLinearConv (x, s, z, w, s, z8, s, z)": ("uint8[n, 3, 8, 8] x", (4, 3, 3, 3), 6 * 6 * 4 * 27),
}


@pytest.mark.parametrize("operation", QUANTIZED)
def test_whole_numbers_by_hand(operation, tmp_path):
    declared, shape, expected = QUANTIZED[operation]
    weights = {"w": np.ones(shape, np.int8), "s": np.float32(1), "z": np.uint8(0), "z8": np.int8(0)}
    file = write(tmp_path / "graph.onnx", f"g ({declared}) => (y) {{ y = {operation} }}", weights)
    assert flops.count(file, 2, None) == 2 * 2 * expected


@pytest.mark.parametrize("is_transposed", [0, 1])
def test_a_factor_may_be_transposed(is_transposed, tmp_path):
    text = f"g (float[n, 5] x) => (y) {{ y = Gemm <transA = {is_transposed}> (x, w) }}"
    file = write(tmp_path / "gemm.onnx", text, {"w": zeros(3 if is_transposed else 5, 7)})
    assert flops.count(file, 3, None) == 2 * 3 * 5 * 7


@pytest.mark.parametrize("name", ["LayerNormalization", "ai.onnx.Relu", "SimplifiedLayerNormalization"])
def test_names_that_onnxruntime_knows(name, tmp_path):
    """Its optimizer writes a normalization of opset 17, and one that no standard has, into older files."""
    call = f"{name} (x)" if name.endswith("Relu") else f"{name} (x, s)"
    text = f"g (float[n, 4] x) => (float[n, 4] y) {{ h = {call} y = MatMul (h, w) }}"
    file = write(tmp_path / "graph.onnx", text, {"w": zeros(4, 4), "s": zeros(4)}, opset=14)
    assert flops.count(file, 3, None) == 2 * 3 * 4 * 4
    onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("n_groups", [1, 2])
@pytest.mark.parametrize("is_transposed", [False, True])
def test_convolutions_like_torch(n_groups, is_transposed, tmp_path):
    layer = (torch.nn.ConvTranspose1d if is_transposed else torch.nn.Conv1d)(4, 6, 3, stride=2, groups=n_groups)
    with FlopCounterMode(display=False) as counter:
        layer(torch.zeros(5, 4, 11))
    op_type = "ConvTranspose" if is_transposed else "Conv"
    text = f"g (float[n, 4, 11] x) => (y) {{ y = {op_type} <strides = [2], group = {n_groups}> (x, w) }}"
    file = write(tmp_path / "conv.onnx", text, {"w": layer.weight.detach().numpy()})
    assert flops.count(file, 5, None) == counter.get_total_flops()


@pytest.mark.parametrize("equation", ["bij,bjk->bik", "bij,kj->bik", "...ij,...jk->...ik", "bij,bj->bi", "bij,ij->b"])
def test_einsum_like_torch(equation, tmp_path):
    sizes = {"b": 2, "i": 3, "j": 4, "k": 5}
    left, right = ([sizes[x] for x in labels] for labels in equation.partition("->")[0].replace("...", "b").split(","))
    with FlopCounterMode(display=False) as counter:
        torch.einsum(equation, torch.zeros(left), torch.zeros(right))
    text = f"""g (float[n, 3, 4] x) => (y) {{ y = Einsum <equation = "{equation}"> (x, w) }}"""
    file = write(tmp_path / "einsum.onnx", text, {"w": zeros(*right)})
    assert flops.count(file, 2, None) == counter.get_total_flops() > 0


def test_attention_with_keys_of_earlier_tokens_and_fewer_of_their_heads(tmp_path):
    text = """g (float[n, 5, 24] q, float[n, 7, 12] k, float[n, 7, 8] v, float[n, 2, 3, 6] pk, float[n, 2, 3, 4] pv)
        => (y, ak, av) { y, ak, av = Attention <q_num_heads = 4, kv_num_heads = 2> (q, k, v, , pk, pv) }"""
    file = write(tmp_path / "attention.onnx", text, opset=23)
    assert flops.count(file, 2, None) == 2 * 2 * 4 * 5 * (7 + 3) * (6 + 4)  # batch, heads, queries, keys, both sizes


@pytest.mark.parametrize(("op_type", "n_gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_recurrent_layers_by_hand(op_type, n_gates, tmp_path):
    text = f"""g (float[9, 2, 10] x) => (y) {{
        y = {op_type} <hidden_size = 6, direction = "bidirectional"> (x, w, r)
    }}"""
    weights = {"w": zeros(2, n_gates * 6, 10), "r": zeros(2, n_gates * 6, 6)}
    file = write(tmp_path / "recurrent.onnx", text, weights)
    assert flops.count(file, 1, None) == 2 * 9 * 2 * 2 * n_gates * (10 * 6 + 6 * 6)  # tokens, batch, directions


REST = "=> (y) { y = MatMul (x, w) }"
CONDITIONAL = """g (float[n, 4] x, bool[n] c) => (y) {{
    y = If (c) <
        then_branch = a () => (p) {{ p = {} }},
        else_branch = b () => (q) {{ q = Identity (x) }}
    >
}}"""


@pytest.mark.parametrize(
    "text",
    [
        "g (float[n, 3, free, 4] x) " + REST,
        "g (float[2, 4] x) " + REST,
        "g (float[n, 4] x) => (y) { z = mine.Product (x, w)\n y = Relu (z) }",
        "g (float[n, 4] x) => (y) { y = ai.onnx.ml.Normalizer (x) }",
        "g (float[n, 4] x) => (y) { z = com.microsoft.MoE (x, w)\n y = MatMul (x, w) }",
        "g (float[n, 4] x) => (y) { i = NonZero (x)\n f = Cast <to = 1> (i)\n y = MatMul (two, f) }",
        "g (float[n, 4] x) => (y) { y = MatMul (x, x) }",
        CONDITIONAL.format("MatMul (x, w)"),
    ],
    ids=["third axis", "batch", "custom", "other standard", "experts", "depends on entries", "does not fit", "branch"],
)
def test_what_cannot_be_known_is_no_number(text, tmp_path):
    file = write(tmp_path / "graph.onnx", text, {"w": zeros(4, 4), "two": zeros(5, 2)})
    assert flops.count(file, 3, 8) is None


def test_a_branch_without_products_costs_nothing_either_way(tmp_path):
    file = write(tmp_path / "graph.onnx", CONDITIONAL.format("Relu (x)"))
    assert flops.count(file, 1, 8) == 0


@pytest.mark.parametrize(("n_columns", "expected"), [(4, 2 * 3 * 4 * 4), (1, 0)])
def test_a_branch_that_the_shape_decides_is_followed(n_columns, expected, tmp_path):
    text = f"""g (float[n, {n_columns}] x) => (y) {{
        s = Shape <start = 1> (x)
        c = Less (one, s)
        r = If (c) <
            then_branch = a () => (p) {{ p = MatMul (x, w) }},
            else_branch = b () => (q) {{ q = Identity (x) }}
        >
        y = Relu (r)
    }}"""
    file = write(tmp_path / "graph.onnx", text, {"w": zeros(4, 4), "one": [1]})
    assert flops.count(file, 3, None) == expected


def test_a_function_of_the_file_is_looked_into(tmp_path):
    text = """g (float[n, 4] x) => (y) { y = mine.Twice (x, w) }
    <domain: "mine", opset_import: ["" : 18]>
    Twice (x, w) => (y) { h = MatMul (x, w)\n y = MatMul (h, w) }"""
    assert flops.count(write(tmp_path / "graph.onnx", text, {"w": zeros(4, 4)}), 1, None) == 2 * 2 * 4 * 4


def test_reshapes_by_numbers_that_the_graph_computes(tmp_path):
    """As exporters write a split into heads: from shapes, by way of floating point."""
    text = """g (float[n, length, 8] x) => (y) {
        s = Shape (x)
        b = Slice (s, zero, two)
        f = Cast <to = 1> (b)
        r = Floor (f)
        w = Cast <to = 7> (r)
        t = Concat <axis = 0> (w, heads)
        h = Reshape (x, t)
        k = Transpose <perm = [0, 2, 3, 1]> (h)
        q = Transpose <perm = [0, 2, 1, 3]> (h)
        y = MatMul (q, k)
    }"""
    text = text.replace("[n, length, 8]", "[n, 5, 8]")
    file = write(tmp_path / "graph.onnx", text, {"zero": [0], "two": [2], "heads": [2, -1]})
    assert flops.count(file, 3, None) == 2 * 3 * 2 * 5 * 5 * 4


def test_weights_beside_the_file_are_not_read_but_numbers_for_shapes_are(tmp_path):
    text = "g (float[n, 64] x) => (y) { h = Reshape (x, shape)\n y = MatMul (h, w) }"
    file = write(tmp_path / "graph.onnx", text, {"shape": [-1, 2, 32], "w": zeros(32, 32)})
    onnx.save(onnx.load(file), file, save_as_external_data=True, location="weights", size_threshold=0)
    with (tmp_path / "weights").open("r+b") as weights:
        weights.truncate(100)
    assert flops.count(file, 3, None) == 2 * 3 * 2 * 32 * 32
    (tmp_path / "weights").write_bytes(b"")
    with pytest.raises(InputError, match=r"graph\.onnx: the weight 'shape' cannot be read \("):
        flops.count(file, 3, None)


def test_a_file_that_is_damaged(tmp_path):
    (tmp_path / "graph.onnx").write_bytes(b"no graph at all")
    with pytest.raises(InputError, match="not a readable ONNX file"):
        flops.count(tmp_path / "graph.onnx", 1, 8)


def test_every_standard_operation_that_multiplies_is_judged():
    """A newer onnx may bring more: each one whose page speaks of products is counted, refused, or named here."""
    words = ("matmul", "matrix product", "convol", "attention", "gemm", "einsum", "recurrent", "inner product")
    speak = {
        schema.name
        for schema in defs.get_all_schemas()
        if not schema.domain and any(word in (schema.doc or "").lower() for word in words)
    }
    harmless = {"Col2Im", "LRN", "RotaryEmbedding", "TensorScatter"}
    assert speak - flops.FORMULAS.keys() - flops.NOT_COUNTED <= harmless | {"Loop"}  # in which it looks for products
