"""A float graph as the quantizers take it, from a file of any origin."""

from collections.abc import Mapping
from pathlib import Path

import onnx
from onnx import helper, numpy_helper

from compressor.errors import InputError
from compressor.graphs import content
from compressor.graphs.products import add_tensor, attributes, is_matrix, replaced, tensors_of

OLDEST_OPSET = 13  # scales for each channel
QUANTIZED = {"DequantizeLinear", "MatMulInteger", "ConvInteger", "QLinearConv", "QLinearMatMul", "MatMulNBits", "QGemm"}


def float_graph(file: Path) -> onnx.ModelProto:
    """Read a float graph with its weights.

    Constants become tensors of the graph, transposed matrices are written out, a Gemm becomes a MatMul and an Add, each
    node has a name of its own, and recorded shapes are dropped: the quantizers would keep those of the float weights.

    Raises
    ------
    InputError
        If the file is damaged, quantized already, or its operators know no scales for each channel.
    """
    content.read(file)  # refuses what is damaged, in one line
    proto = onnx.load(file)
    graph = proto.graph
    if found := sorted({node.op_type for node in graph.node} & QUANTIZED):
        raise InputError(f"{file}: is quantized already, it has {found[0]}; give the float file")
    opset = next((each.version for each in proto.opset_import if each.domain in ("", "ai.onnx")), 0)
    if opset < OLDEST_OPSET:
        raise InputError(f"{file}: has opset {opset}, quantizing needs {OLDEST_OPSET}; export it with a later one")
    graph.ClearField("value_info")
    _name_nodes_(graph)
    _lift_constants_(graph)
    _transpose_matrices_(graph)
    _write_as_products_(graph)
    return proto


def _name_nodes_(graph: onnx.GraphProto) -> None:
    taken: set[str] = set()
    for index, node in enumerate(graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{index}"
        taken.add(node.name)


def _lift_constants_(graph: onnx.GraphProto) -> None:
    made: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            tensor = graph.initializer.add()
            tensor.CopyFrom(node.attribute[0].t)
            tensor.name = node.output[0]
            made[node.output[0]] = []
    replaced(graph, made)


def _transpose_matrices_(graph: onnx.GraphProto) -> None:
    """Write transposed matrices out: some exporters leave that to the runtime, and the quantizers look for tensors."""
    tensors = tensors_of(graph)
    made: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        source = tensors.get(node.input[0]) if node.op_type == "Transpose" else None
        if source is not None and len(source.dims) == 2 and _swaps(node):
            add_tensor(graph, node.output[0], numpy_helper.to_array(source).T)
            made[node.output[0]] = []
    replaced(graph, made)


def _write_as_products_(graph: onnx.GraphProto) -> None:
    """Write each Gemm by a matrix as MatMul and Add.

    onnxruntime's quantizer does so itself, and transposes the matrix in its place, for all that read it.
    """
    tensors = tensors_of(graph)
    replaced(
        graph, {node.output[0]: _as_product(graph, node, tensors) for node in graph.node if _is_gemm(node, tensors)}
    )


def _is_gemm(node: onnx.NodeProto, tensors: Mapping[str, onnx.TensorProto]) -> bool:
    if node.op_type != "Gemm" or not is_matrix(node.input[1], tensors):
        return False
    settings = attributes(node)
    return not settings.get("transA") and settings.get("alpha", 1.0) == settings.get("beta", 1.0) == 1.0


def _as_product(
    graph: onnx.GraphProto, node: onnx.NodeProto, tensors: Mapping[str, onnx.TensorProto]
) -> list[onnx.NodeProto]:
    data, weight, *bias = node.input
    output = node.output[0]
    if attributes(node).get("transB"):
        values = numpy_helper.to_array(tensors[weight]).T
        weight = add_tensor(graph, f"{weight}_of_{output}", values)
    total = f"{output}_product" if bias else output
    made = [helper.make_node("MatMul", [data, weight], [total], name=node.name)]
    return [*made, helper.make_node("Add", [total, *bias], [output], name=f"{node.name}_bias")] if bias else made


def _swaps(node: onnx.NodeProto) -> bool:
    return bool(attributes(node).get("perm", [1, 0]) == [1, 0])
