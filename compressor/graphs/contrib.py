"""Rewrite onnxruntime's own operations as standard ones with the same shapes and the same products."""

from collections.abc import Sequence
from typing import Any

from onnx import NodeProto, TensorProto, defs, helper

OPSETS = {"": defs.onnx_opset_version()}  # of the operations that `standard` returns
FACTORS, FIRST_AND_FOURTH = slice(2), slice(0, 4, 3)

OF_THE_FIRST = {  # elementwise, or a normalization: with the shape and type of the first input
    "BiasGelu",
    "FastGelu",
    "Gelu",
    "QLinearLeakyRelu",
    "QLinearSigmoid",
    "QLinearSoftmax",
    "QuickGelu",
    "RotaryEmbedding",
    "SimplifiedLayerNormalization",
}
SAME = {  # the operation with the same shape and product, and the inputs that it takes
    "DynamicQuantizeLSTM": ("LSTM", slice(3)),
    "DynamicQuantizeMatMul": ("MatMul", FACTORS),
    "FusedConv": ("Conv", FACTORS),
    "FusedGemm": ("Gemm", FACTORS),
    "MatMulIntegerToFloat": ("MatMul", FACTORS),
    "QGemm": ("Gemm", FIRST_AND_FOURTH),
    "QLinearAdd": ("Add", FIRST_AND_FOURTH),
    "QLinearAveragePool": ("AveragePool", slice(1)),
    "QLinearConcat": ("Concat", slice(2, None, 3)),
    "QLinearGlobalAveragePool": ("GlobalAveragePool", slice(1)),
    "QLinearMul": ("Mul", FIRST_AND_FOURTH),
}
POSITIONS = 8  # index among the inputs of EmbedLayerNormalization
TO_FLOAT = {
    "DynamicQuantizeLSTM",
    "DynamicQuantizeMatMul",
    "MatMulIntegerToFloat",
}  # those with a floating-point output; the others return the type of their inputs


def standard(node: NodeProto) -> list[NodeProto] | None:
    """Rewrite one of onnxruntime's own operations as standard ones; None for any other operation.

    Scales, biases, masks and activation functions are left out: the result has only the shapes, the factors of each
    product, and the tables with the ids that look them up.
    """
    is_own = node.domain == "com.microsoft" or node.op_type == "SimplifiedLayerNormalization"
    if not is_own or not node.output:
        return None
    given = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    if node.op_type in OF_THE_FIRST:
        return [helper.make_node("Identity", node.input[:1], node.output[:1])]
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        return [helper.make_node(node.op_type, node.input, node.output, **given)]
    if node.op_type in SAME and not given.get("channels_last"):
        return _same(node, given)
    write = WRITERS.get(node.op_type)
    try:
        return None if write is None else write(node, given)
    except (LookupError, ValueError):  # an attribute or an input is missing
        return None


def _same(node: NodeProto, given: dict[str, Any]) -> list[NodeProto]:
    """Rewrite a quantized or fused operation as its plain one, in floating point, because that accepts nothing else."""
    op_type, taken = SAME[node.op_type]
    allowed = defs.get_schema(op_type).attributes
    settings = {name: value for name, value in given.items() if name in allowed}
    casts, floats = _as_floats(node.input[taken])
    if node.op_type in TO_FLOAT or (node.op_type == "QGemm" and not _has(node, 7)):  # no scale for the result
        return [*casts, helper.make_node(op_type, floats, node.output, **settings)]
    made = f"{node.output[0]}/made"
    back = helper.make_node("CastLike", [made, *node.input[taken][:1]], node.output[:1])
    return [*casts, helper.make_node(op_type, floats, [made], **settings), back]


def _as_floats(names: Sequence[str]) -> tuple[list[NodeProto], list[str]]:
    """Return casts to floating point, and the names of their outputs."""
    floats = [f"{name}/float" for name in names]
    pairs = zip(names, floats, strict=True)
    return [helper.make_node("Cast", [name], [to], to=TensorProto.FLOAT) for name, to in pairs], floats


def _attention(node: NodeProto, given: dict[str, Any]) -> list[NodeProto] | None:
    """Rewrite attention that computes queries, keys and values from its input in one product."""
    is_quantized = node.op_type == "QAttention"
    if _has(node, 8 if is_quantized else 4):  # keys and values of earlier tokens
        return None
    casts, factors = _as_floats(node.input[:2]) if is_quantized else ([], list(node.input[:2]))
    joined, sizes, *parts = (f"{node.output[0]}/{name}" for name in ("joined", "sizes", "query", "key", "value"))
    if "qkv_hidden_sizes" in given:
        split = [
            helper.make_node("Constant", [], [sizes], value_ints=given["qkv_hidden_sizes"]),
            helper.make_node("Split", [joined, sizes], parts, axis=2),
        ]
    else:
        split = [helper.make_node("Split", [joined], parts, axis=2, num_outputs=3)]
    return [*casts, helper.make_node("MatMul", factors, [joined]), *split, _heads(parts, node, given)]


def _attention_alone(node: NodeProto, given: dict[str, Any]) -> list[NodeProto] | None:
    if not (_has(node, 1) and _has(node, 2)) or _has(node, 6):  # packed in one input, or with those of earlier tokens
        return None
    return [_heads(list(node.input[:3]), node, given)]


def _heads(parts: list[str], node: NodeProto, given: dict[str, Any]) -> NodeProto:
    n_heads = given["num_heads"]
    return helper.make_node("Attention", parts, node.output[:1], q_num_heads=n_heads, kv_num_heads=n_heads)


def _product(node: NodeProto, given: dict[str, Any]) -> list[NodeProto] | None:
    """Rewrite a product of matrices, either of which may be transposed."""
    if given.get("transBatchA") or given.get("transBatchB"):
        return None
    left, right = "ji" if given.get("transA") else "ij", "kj" if given.get("transB") else "jk"
    return [helper.make_node("Einsum", node.input[:2], node.output, equation=f"...{left},...{right}->...ik")]


def _product_of_packed(node: NodeProto, given: dict[str, Any]) -> list[NodeProto]:
    """Rewrite a product with a weight that packs several numbers into a byte; its shape is in the attributes."""
    shape, zeros, weight = (f"{node.output[0]}/{name}" for name in ("shape", "zeros", "weight"))
    return [
        helper.make_node("Constant", [], [shape], value_ints=[given["K"], given["N"]]),
        helper.make_node("ConstantOfShape", [shape], [zeros]),
        helper.make_node("CastLike", [zeros, node.input[0]], [weight]),
        helper.make_node("MatMul", [node.input[0], weight], node.output),
    ]


def _embeddings(node: NodeProto, given: dict[str, Any]) -> list[NodeProto]:
    """Rewrite the lookups in three tables: of tokens, positions and segments."""
    token, segment, tokens, positions, segments = node.input[:5]
    is_quantized = node.op_type.startswith("Q")
    start, step, sizes, length, counted, found, place, kind = (
        f"{node.output[0]}/{name}" for name in ("start", "step", "sizes", "length", "counted", "found", "place", "kind")
    )
    numbered = [
        helper.make_node("Constant", [], [start], value_int=0),
        helper.make_node("Constant", [], [step], value_int=1),
        helper.make_node("Shape", [token], [sizes], start=1, end=2),
        helper.make_node("Squeeze", [sizes], [length]),
        helper.make_node("Range", [start, length, step], [counted]),
    ]
    position = node.input[POSITIONS] if _has(node, POSITIONS) and not is_quantized else counted
    return [
        *numbered,
        helper.make_node("Gather", [tokens, token], [found]),
        helper.make_node("Gather", [positions, position], [place]),
        *([helper.make_node("Gather", [segments, segment], [kind])] if segment else []),
        helper.make_node("Cast", [found], node.output[:1], to=TensorProto.FLOAT)
        if is_quantized
        else helper.make_node("Identity", [found], node.output[:1]),
    ]


def _normalized_sum(node: NodeProto, given: dict[str, Any]) -> list[NodeProto]:
    """Rewrite the normalized sum of two inputs, and the sum itself if it is an output."""
    made = [name for name in (node.output[0], *node.output[3:]) if name]
    return [helper.make_node("Identity", node.input[:1], [name]) for name in made]


def _has(node: NodeProto, index: int) -> bool:
    return len(node.input) > index and bool(node.input[index])


WRITERS = {
    "Attention": _attention,
    "EmbedLayerNormalization": _embeddings,
    "FusedMatMul": _product,
    "FusedMatMulActivation": _product,
    "MatMulNBits": _product_of_packed,
    "MultiHeadAttention": _attention_alone,
    "QAttention": _attention,
    "QEmbedLayerNormalization": _embeddings,
    "SkipLayerNormalization": _normalized_sum,
    "SkipSimplifiedLayerNormalization": _normalized_sum,
}
