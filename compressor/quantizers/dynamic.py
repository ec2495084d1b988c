"""Products and embeddings in int8; the scale of every activation is computed as the graph runs."""

import onnx

from compressor.bench.result import Precision
from compressor.graphs import library
from compressor.graphs.products import products
from compressor.quantizers import Settings

TAKES = frozenset({"reduce_range", "left"})
OPERATORS = ("MatMul", "Gemm", "Gather")  # the library's own list has opset 23's Attention too, which breaks the model


def layers(graph: onnx.ModelProto) -> list[str]:
    """Names of the layers that it would quantize."""
    return [product.name for product in products(graph.graph)]


def quantize(graph: onnx.ModelProto, settings: Settings) -> onnx.ModelProto:
    """Quantize by onnxruntime's quantizer; weights are signed, with a scale for each output channel."""
    left = [product.node.name for product in products(graph.graph) if product.name in settings.left]
    return library.dynamic(graph, OPERATORS, left, settings.reduce_range)


def precision(_: Settings) -> Precision:
    """Name the precision of the file."""
    return "int8"
