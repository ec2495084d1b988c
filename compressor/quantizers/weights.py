"""Weights alone, in blocks of 4 or 8 bits, by onnxruntime's MatMulNBits; activations stay float."""

import onnx
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

from compressor.bench.result import Precision
from compressor.errors import InputError
from compressor.graphs import library
from compressor.graphs.products import products
from compressor.quantizers import Settings

TAKES = frozenset({"bits", "block_size", "left"})
_WITH_INT8 = 4  # accuracy level at which activations are rounded to int8 inside the kernel, the fastest


def layers(graph: onnx.ModelProto) -> list[str]:
    """Names of the layers that it would quantize."""
    return [product.name for product in products(graph.graph)]


def quantize(graph: onnx.ModelProto, settings: Settings) -> onnx.ModelProto:
    """Quantize matrices in blocks along their inputs, and tables of embeddings to int8."""
    found = products(graph.graph)
    if not found:
        raise InputError("quantize: no product of the graph can be quantized; leave the stage out")
    left = [product.node.name for product in found if product.name in settings.left]
    quantizer = MatMulNBitsQuantizer(
        graph,
        bits=settings.bits,
        block_size=settings.block_size,
        is_symmetric=True,
        accuracy_level=_WITH_INT8,
        nodes_to_exclude=left,
        op_types_to_quantize=("MatMul",),
    )
    quantizer.process()
    return library.dynamic(quantizer.model.model, ["Gather"], [], reduce_range=False)


def precision(settings: Settings) -> Precision:
    """Name the precision of the file."""
    return "int4" if settings.bits == 4 else "int8"
