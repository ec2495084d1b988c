"""Quantize the products and embeddings of an ONNX file to int8."""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

from compressor.model import OnnxGraph
from compressor.options import Base
from compressor.train import Context

_OP_TYPES = ["MatMul", "Gemm", "Gather"]  # by default also Attention, of which it writes an invalid model


class Options(Base):
    """Recipe keys of the ``quantize`` stage."""

    stage: Literal["quantize"]
    mode: Literal["dynamic"] = "dynamic"
    """`dynamic` scales every activation as it comes, so no calibration data is needed."""
    reduce_range: bool = False
    """Weights of 7 bits, which cannot saturate on x86 CPUs without VNNI."""


def run(graph: OnnxGraph, options: Options, context: Context) -> OnnxGraph:
    """Quantize to signed int8, one scale per output channel of a weight.

    The graph may lie in the same folder already; then the quantized one stands beside it as ``model-int8.onnx``.
    """
    is_beside = graph.path.parent == context.folder
    path = context.folder / ("model-int8.onnx" if is_beside else "model.onnx")
    partial = path.with_suffix(".partial")
    with _silence():
        quantize_dynamic(
            _loaded(graph),
            partial,
            _OP_TYPES,
            per_channel=True,
            reduce_range=options.reduce_range,
            weight_type=QuantType.QInt8,
        )
    if not is_beside:
        shutil.copy(graph.path.with_name("config.json"), context.folder)
        graph.task.processor.save_pretrained(context.folder)
    partial.replace(path)
    return OnnxGraph(path, graph.task)


def _loaded(graph: OnnxGraph) -> onnx.ModelProto:
    """Read the graph without the shapes noted in it, which the quantizer would leave stale."""
    proto = onnx.load(graph.path)
    proto.graph.ClearField("value_info")
    return proto


@contextmanager
def _silence() -> Iterator[None]:
    """Keep back the advice to run a preprocessing pass, which changes nothing here."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
