"""Quantize the products and the embeddings of an ONNX file to int8."""

import shutil
from typing import Literal

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

from compressor.files import explained, replacing
from compressor.graphs import manifest
from compressor.graphs.inference import shapes_in_place
from compressor.model import OnnxGraph
from compressor.model.quiet import quantizer_quiet
from compressor.training.context import Context
from compressor.training.options import StageOptions

_OP_TYPES = ["MatMul", "Gemm", "Gather"]  # the default list also takes opset 23's Attention and breaks the model


class Options(StageOptions):
    """Recipe keys of the `quantize` stage."""

    stage: Literal["quantize"]
    mode: Literal["dynamic"] = "dynamic"
    """`dynamic` computes the scale of every activation at run time, so no calibration data is needed."""
    reduce_range: bool = False
    """Use 7 bits for weights, because 8 can saturate on x86 CPUs without VNNI."""


def run(graph: OnnxGraph, options: Options, context: Context) -> OnnxGraph:
    """Quantize to signed int8 with a scale for each output channel, into a complete folder.

    If the graph is already in that folder, as the original's is, the new file is ``model-int8.onnx`` next to it.
    """
    is_beside = graph.path.parent == context.folder
    path = context.folder / ("model-int8.onnx" if is_beside else "model.onnx")
    proto = _without_shapes(graph)
    with replacing(path) as beside, quantizer_quiet(), shapes_in_place():
        quantize_dynamic(
            proto,
            beside,
            _OP_TYPES,
            nodes_to_exclude=_products_of_stacks(proto),
            per_channel=True,
            reduce_range=options.reduce_range,
            weight_type=QuantType.QInt8,
            extra_options={
                "DefaultTensorType": onnx.TensorProto.FLOAT
            },  # where onnx does not infer it, as behind pools
        )
    if not is_beside:
        with explained(context.folder):
            shutil.copy(graph.path.with_name("config.json"), context.folder)
            manifest.copy(graph.path, path)
            if graph.task.processor is not None:
                graph.task.processor.save_pretrained(context.folder)
    return OnnxGraph(path, graph.task, precision="int8")


def _without_shapes(graph: OnnxGraph) -> onnx.ModelProto:
    """Read the graph without its recorded shapes: the quantizer would keep those of the float weights."""
    proto = onnx.load(graph.path)
    proto.graph.ClearField("value_info")
    return proto


def _products_of_stacks(proto: onnx.ModelProto) -> list[str]:
    """Name the products by stacks of matrices, as of Monarch layers: they stay in float32.

    The quantizer gives a stack one scale for each column, where onnxruntime's kernel wants one for each matrix too, so
    the file would not run.
    """
    stacks = {weight.name for weight in proto.graph.initializer if len(weight.dims) > 2}
    return [node.name for node in proto.graph.node if node.op_type == "MatMul" and stacks & set(node.input)]
