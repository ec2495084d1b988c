"""Products, convolutions and embeddings in int8; activations have the scales of calibration rows.

What a row gives does not depend on the rows beside it, nor on padding. Convolutions get integer kernels here alone.
"""

from collections.abc import Mapping, Sequence

import onnx
from onnx import numpy_helper

from compressor.bench.result import Precision
from compressor.errors import InputError
from compressor.graphs import library, ranges
from compressor.graphs.integers import IntegerProducts
from compressor.graphs.products import products, replaced, tensors_of
from compressor.quantizers import Settings

TAKES = frozenset({"rows", "ranges", "target", "reduce_range", "left"})
_CONVOLUTIONS = ("Conv", "ConvTranspose")
_FOLLOWERS = ("Add", "Relu", "Clip", "MaxPool", "AveragePool", "GlobalAveragePool", "Concat")  # of integers to integers


def layers(graph: onnx.ModelProto) -> list[str]:
    """Names of the layers that it would quantize: of convolutions those of their nodes."""
    convolutions = [node.name for node in graph.graph.node if node.op_type in _CONVOLUTIONS]
    return [*convolutions, *(product.name for product in products(graph.graph))]


def quantize(graph: onnx.ModelProto, settings: Settings) -> onnx.ModelProto:
    """Round weights to a scale for each output channel, and activations to those of their range on the rows."""
    found = [product for product in products(graph.graph) if product.name not in settings.left]
    region = _region(graph.graph, settings.left)
    if not layers(graph):
        raise InputError("quantize: no product and no convolution of the graph can be quantized; leave the stage out")
    values = sorted({product.data for product in found} | _values(region))
    measured = ranges.ranges(graph, values, settings.rows, settings.ranges)
    if region:
        names = [node.name for node in region]
        graph = library.with_scales(graph, names, measured, settings.target == "arm", settings.reduce_range)
    graph = library.dynamic(graph, ["Gather"], [], settings.reduce_range)
    _replace_products_(graph.graph, measured, settings)
    return graph


def precision(_: Settings) -> Precision:
    """Name the precision of the file."""
    return "int8"


def _replace_products_(graph: onnx.GraphProto, measured: Mapping[str, ranges.Range], settings: Settings) -> None:
    tensors = tensors_of(graph)
    integers = IntegerProducts(graph, 63 if settings.reduce_range else 127)
    made = {}
    for product in products(graph):
        if product.name not in settings.left:
            scale, zero_point = ranges.steps(measured[product.data], settings.target == "arm")
            made[product.node.output[0]] = integers.nodes(
                product, numpy_helper.to_array(tensors[product.weight]), scale, zero_point
            )
    graph.ClearField("value_info")  # some are those of the float graph
    replaced(graph, made)


def _region(graph: onnx.GraphProto, left: frozenset[str]) -> list[onnx.NodeProto]:
    """List the convolutions, and the operations that only read what these write."""
    written: set[str] = set()
    region = []
    constants = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        is_follower = node.op_type in _FOLLOWERS and all(
            name in written for name in node.input if name and name not in constants
        )
        is_convolution = node.op_type in _CONVOLUTIONS and node.input[1] in constants and node.name not in left
        if is_follower or is_convolution:
            region.append(node)
            written |= set(node.output)
    return region


def _values(region: Sequence[onnx.NodeProto]) -> set[str]:
    """Names of what the nodes read and write, without their weights and bounds."""
    written = {node.output[0] for node in region}
    return written | {name for node in region for name in node.input if name in written or name == node.input[0]}
