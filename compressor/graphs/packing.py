"""Four bits in the file: of products, whose arithmetic stays that of int8, and of tables of embeddings."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from compressor.errors import InputError
from compressor.graphs.products import add_tensor, replaced, tensors_of

Array = np.ndarray[Any, Any]

LARGEST = 7
SHARES = np.linspace(1.0, 0.6, 9)  # of the largest magnitude, at which clipping is compared
SMALLEST = 1e-30  # magnitude that has a scale in float32
FEWEST_ROWS = 16  # of a table that is worth packing
OPSET_OF_INT4, OPSET_OF_BITS = 21, 18


def pack_products_(model: onnx.ModelProto) -> None:
    """Store the int8 matrices of integer products with 4 bits, each column with a new scale.

    onnxruntime casts them to int8 once, when it loads the file.

    Raises
    ------
    InputError
        If the graph has no integer product, or its operators know no tensors of 4 bits.
    """
    _require(model, OPSET_OF_INT4, "storage_bits: 4")
    graph, tensors = model.graph, tensors_of(model.graph)
    scales_of = _scales(graph, tensors)
    if not scales_of:
        raise InputError("storage_bits: the graph has no integer product; use mode dynamic or static")
    for name, scale_name in scales_of.items():
        scale = tensors[scale_name]
        matrix = numpy_helper.to_array(tensors[name]) * numpy_helper.to_array(scale)
        integers, scales = four_bits(matrix.T)
        packed = helper.make_tensor(f"{name}_4bit", TensorProto.INT4, matrix.shape, _bytes(integers.T), raw=True)
        graph.initializer.remove(tensors[name])
        graph.initializer.append(packed)
        scale.CopyFrom(numpy_helper.from_array(scales[:, 0], scale.name))
        graph.node.insert(0, helper.make_node("Cast", [packed.name], [name], to=TensorProto.INT8, name=f"{name}_cast"))


def pack_embeddings_(model: onnx.ModelProto) -> None:
    """Store float tables of embeddings with 4 bits, two numbers in a byte, and a scale for each row.

    The bytes are divided after the lookup, so only the rows that are read cost time.

    Raises
    ------
    InputError
        If the graph has no table, or its operators cannot divide bytes.
    """
    _require(model, OPSET_OF_BITS, "embeddings: int4")
    graph, tensors = model.graph, tensors_of(model.graph)
    made = {
        node.output[0]: _lookup(graph, node, numpy_helper.to_array(tensors[node.input[0]]))
        for node in list(graph.node)
        if _is_table(node, tensors)
    }
    if not made:
        raise InputError("embeddings: the graph has no table of embeddings; leave the key out")
    replaced(graph, made)


def four_bits(rows: Array) -> tuple[Array, Array]:
    """Round each row to integers from -7 to 7, at the scale with the smallest squared error.

    Returns
    -------
    integers : array of int8, as ``rows``
    scales : array of float32, shape (n_rows, 1)
    """
    greatest = np.abs(rows).max(axis=1, keepdims=True, initial=0.0)
    greatest = np.where(greatest > SMALLEST, greatest, LARGEST)
    best = greatest / LARGEST
    least = np.full_like(best, np.inf)
    for share in SHARES:
        scales = share * greatest / LARGEST
        errors = np.square(_rounded(rows, scales) * scales - rows).sum(axis=1, keepdims=True)
        best, least = np.where(errors < least, scales, best), np.minimum(errors, least)
    best = best.astype(np.float32)
    return _rounded(rows, best).astype(np.int8), best


def _bytes(integers: Array) -> bytes:
    """Put two numbers into each byte, the first into the lower bits, as the standard stores tensors of 4 bits."""
    codes = np.pad(integers.flatten(), (0, integers.size % 2)).astype(np.uint8) & 15
    return bytes(codes[::2] | codes[1::2] << 4)


def _scales(graph: onnx.GraphProto, tensors: Mapping[str, TensorProto]) -> dict[str, str]:
    """Map each int8 matrix of a product to its scales: the product is cast, and multiplied by both factors' scales."""
    writers = {name: node for node in graph.node for name in node.output}
    found = {}
    for node in graph.node:
        chain = _inputs_of(node, "Mul", writers)
        cast = next((each for each in chain if each.op_type == "Cast"), None)
        steps = next((each for each in chain if each.op_type == "Mul"), None)
        integer = None if cast is None else writers.get(cast.input[0])
        if integer is None or integer.op_type != "MatMulInteger" or steps is None or integer.input[1] not in tensors:
            continue
        scale = next((name for name in steps.input if name in tensors and tensors[name].dims), None)
        if scale is not None:
            found[integer.input[1]] = scale
    return found


def _inputs_of(node: onnx.NodeProto, op_type: str, writers: Mapping[str, onnx.NodeProto]) -> list[onnx.NodeProto]:
    return [writers[name] for name in node.input if name in writers] if node.op_type == op_type else []


def _rounded(rows: Array, scales: Array) -> Array:
    return np.clip(np.rint(rows / scales), -LARGEST, LARGEST)


def _is_table(node: onnx.NodeProto, tensors: Mapping[str, TensorProto]) -> bool:
    table = tensors.get(node.input[0]) if node.op_type == "Gather" else None
    if table is None or len(table.dims) != 2 or table.data_type != TensorProto.FLOAT:
        return False
    is_of_rows = all(helper.get_attribute_value(each) == 0 for each in node.attribute)
    return is_of_rows and table.dims[0] >= FEWEST_ROWS and table.dims[1] % 2 == 0


def _lookup(graph: onnx.GraphProto, node: onnx.NodeProto, table: Array) -> list[onnx.NodeProto]:
    """Make the nodes that look up rows of a packed table; the left half of a row is in the lower bits."""
    name, output = node.input[0], node.output[0]
    integers, scales = four_bits(table)
    left, right = np.split((integers + 8).astype(np.uint8), 2, axis=1)
    add_tensor(graph, f"{name}_packed", left | right << 4)
    add_tensor(graph, f"{name}_row_scale", scales.astype(np.float16))
    for suffix, values in (("mask", np.uint8(15)), ("shift", np.uint8(4)), ("middle", np.uint8(8))):
        add_tensor(graph, f"{output}_{suffix}", np.array(values))
    add_tensor(graph, f"{output}_one", np.array(1.0, np.float32))
    halves = [f"{output}_left", f"{output}_right"]
    return [
        helper.make_node("Gather", [f"{name}_packed", node.input[1]], [f"{output}_bytes"], axis=0),
        helper.make_node("BitwiseAnd", [f"{output}_bytes", f"{output}_mask"], [halves[0]]),
        helper.make_node("BitShift", [f"{output}_bytes", f"{output}_shift"], [halves[1]], direction="RIGHT"),
        helper.make_node("Concat", halves, [f"{output}_codes"], axis=-1),
        helper.make_node(
            "DequantizeLinear", [f"{output}_codes", f"{output}_one", f"{output}_middle"], [f"{output}_integers"]
        ),
        helper.make_node("Gather", [f"{name}_row_scale", node.input[1]], [f"{output}_half"], axis=0),
        helper.make_node("Cast", [f"{output}_half"], [f"{output}_scale"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{output}_integers", f"{output}_scale"], [output], name=f"{output}_rows"),
    ]


def _require(model: onnx.ModelProto, opset: int, what: str) -> None:
    found = next((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), 0)
    if found < opset:
        raise InputError(f"{what}: needs opset {opset}, the graph has {found}; export it with opset {opset} or later")
