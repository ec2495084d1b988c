"""FLOPs of an ONNX graph at a shape: two for each multiply-accumulate of its products."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from onnx import AttributeProto, GraphProto

from compressor.bench.result import InputFacts
from compressor.graphs import shapes
from compressor.graphs.shapes import Step, Value

NOT_COUNTED = {"CausalConvWithState", "LinearAttention"}  # standard operations that contain products
GATES = {"GRU": 3, "LSTM": 4, "RNN": 1}
PAST_KEYS = 4  # index among the inputs of Attention


class NotKnownError(Exception):
    """The shape of a factor, or the products of an operation, are not known."""


def count(file: Path, batch_size: int, length: int | None, facts: Mapping[str, InputFacts] | None = None) -> int | None:
    """Count the floating-point operations of one inference, as `model.n_flops` counts those of a network.

    Two for each multiply-accumulate of products, convolutions, recurrent layers and attention, including those of
    integers. Elementwise operations are not counted.

    Parameters
    ----------
    file : Path
        An ONNX file of any origin.
    batch_size : int, >= 1
        First axis of the inputs, if the file leaves it free.
    length : int, >= 1, optional
        Second axis of inputs that have two, if the file leaves it free.
    facts : mapping from name to mapping, optional
        ``shape`` of inputs, as in a plan of the bench, if the file leaves more axes free.

    Returns
    -------
    int or None
        None, rather than too small a number, if the inputs cannot have that shape, the shape of a factor depends on
        the values of the inputs, or the file has an unknown operation that might multiply matrices.

    Raises
    ------
    InputError
        If the file is damaged, or its weights are missing.
    """
    counts = by_node(file, batch_size, length, facts)
    return None if counts is None else sum(n_flops for _, n_flops in counts)


def by_node(
    file: Path, batch_size: int, length: int | None, facts: Mapping[str, InputFacts] | None = None
) -> list[tuple[str, int]] | None:
    """Count the same of each operation, with its name; local functions are inlined."""
    proto = shapes.skeleton(file)
    inputs = shapes.at(proto, batch_size, length, facts)
    if shapes.axes(proto).misfit(batch_size) or any(value.shape is None for value in inputs.values()):
        return None
    try:
        return [(step.node.name, 2 * _multiplications(step)) for step in shapes.walk(proto, inputs)]
    except NotKnownError:
        return None


def _multiplications(step: Step) -> int:
    """Count the multiply-accumulates of one operation."""
    if not step.is_known or step.node.op_type in NOT_COUNTED or step.node.domain:
        raise NotKnownError(step.node.op_type)
    bodies = [each.g for each in step.node.attribute if each.type == AttributeProto.GRAPH]
    if any(map(_has_products, bodies)):  # a branch whose condition depends on the inputs, or a loop
        raise NotKnownError(step.node.op_type)
    formula = FORMULAS.get(step.node.op_type)
    if formula and step.made.shape is None:  # also if the product is not well formed
        raise NotKnownError(step.node.op_type)
    return formula(step) if formula else 0


def _has_products(body: GraphProto) -> bool:
    """Whether any operation in the body of another might be a product."""
    inner = [each.g for node in body.node for each in node.attribute if each.type == AttributeProto.GRAPH]
    counted = FORMULAS.keys() | NOT_COUNTED
    return any(node.op_type in counted or node.domain for node in body.node) or any(map(_has_products, inner))


def _matmul(step: Step) -> int:
    """Count the multiply-accumulates of a matrix product: the inner size for each entry of the result."""
    return _n_entries(step.made) * _shape(step.read(0))[-1]


def _gemm(step: Step) -> int:
    return _n_entries(step.made) * _shape(step.read(0))[0 if step.setting("transA", 0) else 1]


def _conv(step: Step, weight: int = 1) -> int:
    """Count one filter for each entry of the result; a filter sees the channels of its group."""
    return _n_entries(step.made) * math.prod(_shape(step.read(weight))[1:])


def _conv_transpose(step: Step) -> int:
    """Count one filter for each entry of the input."""
    return _n_entries(step.read(0)) * math.prod(_shape(step.read(1))[1:])


def _einsum(step: Step) -> int:
    """Count the sizes that are summed over, for each entry of the result; one factor alone is not multiplied."""
    terms, _, result = step.setting("equation", b"").decode().replace(" ", "").partition("->")
    factors = terms.split(",")
    if len(factors) == 1:
        return 0
    if len(factors) > 2 or not result:  # with three factors, the count depends on the order
        raise NotKnownError("Einsum")
    sizes: dict[str, int] = {}
    for labels, value in zip(factors, step.inputs, strict=True):
        before, _, after = labels.partition("...")
        sizes |= zip(before, _shape(value), strict=False)
        sizes |= zip(reversed(after), reversed(_shape(value)), strict=False)
    return _n_entries(step.made) * math.prod(size for label, size in sizes.items() if label not in result)


def _attention(step: Step) -> int:
    """Count queries times keys, and the scores times values; masked entries are computed all the same."""
    has_past = len(step.node.input) > PAST_KEYS and step.node.input[PAST_KEYS]
    n_keys = _shape(step.read(1))[-2] + (_shape(step.read(PAST_KEYS))[-2] if has_past else 0)
    return n_keys * (_n_entries(step.read(0)) + _n_entries(step.made))


def _recurrent(step: Step) -> int:
    """Count one product with the input and one with the state, for each gate, direction and token."""
    *tokens, n_inputs = _shape(step.read(0))
    n_units: int = step.setting("hidden_size", 0)
    n_directions = 2 if step.setting("direction", b"") == b"bidirectional" else 1
    return math.prod(tokens) * GATES[step.node.op_type] * n_directions * n_units * (n_inputs + n_units)


def _shape(value: Value) -> tuple[int, ...]:
    if value.shape is None:
        raise NotKnownError
    return value.shape


def _n_entries(value: Value) -> int:
    return math.prod(_shape(value))


FORMULAS: dict[str, Callable[[Step], int]] = {
    "Attention": _attention,
    "Conv": _conv,
    "ConvInteger": _conv,
    "ConvTranspose": _conv_transpose,
    "DeformConv": _conv,
    "Einsum": _einsum,
    "GRU": _recurrent,
    "Gemm": _gemm,
    "LSTM": _recurrent,
    "MatMul": _matmul,
    "MatMulInteger": _matmul,
    "QLinearConv": partial(_conv, weight=3),
    "QLinearMatMul": _matmul,
    "RNN": _recurrent,
}
