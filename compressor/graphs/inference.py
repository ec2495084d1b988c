"""Shape inference for onnxruntime's quantizer, without the copies of the weights that it makes.

Checked with onnxruntime 1.31: its quantizer infers shapes twice, each time on a deep copy that it writes to the disk
and reads again, while it holds the former ones. Here the shapes are inferred on a graph without weights, and added to
the very graph that was given. The quantized file is the same, byte for byte.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from unittest.mock import patch

import onnx
from onnxruntime.quantization.quant_utils import add_infer_metadata

USERS = ("quantize", "onnx_quantizer")  # modules of the quantizer that call the function
FUNCTION = "save_and_reload_model_with_shape_infer"
LARGE = 1024  # bytes, from which on a tensor is written beside the graph


@contextmanager
def shapes_in_place() -> Iterator[None]:
    """Let the quantizer infer shapes by `infer_` while the context is open."""
    first, second = (import_module(f"onnxruntime.quantization.{name}") for name in USERS)
    with patch.object(first, FUNCTION, infer_), patch.object(second, FUNCTION, infer_):
        yield


def infer_(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Add the shapes of all values to a graph, and return it."""
    inferred = onnx.shape_inference.infer_shapes(_without_weights(proto))
    proto.graph.ClearField("value_info")
    proto.graph.value_info.extend(inferred.graph.value_info)
    for tensor in filter(_is_large, proto.graph.initializer):
        tensor.data_location = onnx.TensorProto.DEFAULT  # as it is noted when a tensor was read from beside
    add_infer_metadata(proto)
    return proto


def _without_weights(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Copy a graph; large tensors are only named, as if they lay in another file."""
    plain, graph = onnx.ModelProto(), proto.graph
    plain.ir_version = proto.ir_version
    plain.opset_import.extend(proto.opset_import)
    plain.functions.extend(proto.functions)
    for name in ("node", "input", "output", "value_info"):
        getattr(plain.graph, name).extend(getattr(graph, name))
    plain.graph.name = graph.name
    for tensor in graph.initializer:
        copy = plain.graph.initializer.add()
        if not _is_large(tensor):
            copy.CopyFrom(tensor)
            continue
        copy.name, copy.data_type, copy.data_location = tensor.name, tensor.data_type, onnx.TensorProto.EXTERNAL
        copy.dims.extend(tensor.dims)
        copy.external_data.add(key="location", value="weights")
    return plain


def _is_large(tensor: onnx.TensorProto) -> bool:
    return tensor.HasField("raw_data") and sys.getsizeof(tensor.raw_data) >= LARGE
