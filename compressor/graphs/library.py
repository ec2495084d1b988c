"""onnxruntime's quantizers, on graphs in memory."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.base_quantizer import BaseQuantizer
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.onnx_quantizer import ONNXQuantizer
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.quant_utils import QuantizationMode

from compressor.graphs.inference import infer_, shapes_in_place
from compressor.graphs.ranges import Range

_OPTIONS = {
    "DefaultTensorType": onnx.TensorProto.FLOAT,  # where onnx does not infer it, as behind pools
    "MatMulConstBOnly": True,
}


def dynamic(
    graph: onnx.ModelProto, operators: Sequence[str], left: Sequence[str], reduce_range: bool
) -> onnx.ModelProto:
    """Quantize operators of some kinds to int8; activations get their scales as the graph runs.

    ``left`` names nodes that stay in float. So do products by stacks of matrices, as of Monarch layers: the quantizer
    gives a stack one scale for each column, where onnxruntime's kernel wants one for each matrix too.
    """
    with shapes_in_place():
        quantizer = ONNXQuantizer(
            infer_(graph),
            per_channel=True,
            reduce_range=reduce_range,
            mode=QuantizationMode.IntegerOps,
            static=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=None,
            nodes_to_quantize=[],
            nodes_to_exclude=[*left, *_products_of_stacks(graph)],
            op_types_to_quantize=list(operators),
            extra_options=dict(_OPTIONS),
        )
        quantizer.quantize_model()
    return _sorted(quantizer)


def with_scales(
    graph: onnx.ModelProto, nodes: Sequence[str], ranges: Mapping[str, Range], is_signed: bool, reduce_range: bool
) -> onnx.ModelProto:
    """Put QuantizeLinear and DequantizeLinear around nodes, from which onnxruntime makes integer kernels.

    ``ranges`` are those of the inputs and outputs of these nodes.
    """
    kinds = sorted({node.op_type for node in graph.graph.node if node.name in set(nodes)})
    data = {name: tuple(np.array(bound, np.float32) for bound in pair) for name, pair in ranges.items()}
    with shapes_in_place():
        quantizer = QDQQuantizer(
            infer_(graph),
            per_channel=True,
            reduce_range=reduce_range,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QInt8 if is_signed else QuantType.QUInt8,
            tensors_range=TensorsData(CalibrationMethod.MinMax, data),
            nodes_to_quantize=list(nodes),
            nodes_to_exclude=[],
            op_types_to_quantize=kinds,
            extra_options=dict(_OPTIONS),
        )
        quantizer.quantize_model()
    return _sorted(quantizer)


def _sorted(quantizer: BaseQuantizer) -> onnx.ModelProto:
    quantizer.model.topological_sort()
    model: onnx.ModelProto = quantizer.model.model
    return model


def _products_of_stacks(graph: onnx.ModelProto) -> list[str]:
    stacks = {weight.name for weight in graph.graph.initializer if len(weight.dims) > 2}
    return [node.name for node in graph.graph.node if node.op_type == "MatMul" and stacks & set(node.input)]
