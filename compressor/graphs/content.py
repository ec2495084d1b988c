"""The content of an ONNX file: inputs, layers, operations, parameters, bytes."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx.helper import tensor_dtype_to_np_dtype

from compressor.errors import InputError, first_line
from compressor.graphs.description import Declared, Description, GraphLayer

LAYER = re.compile(r"(?:[^.]+\.)*?\d+(?:\.[^.]+\.\d+)?(?=\.)")  # bert.encoder.layer.0, resnet.encoder.stages.0.layers.1
NO_WEIGHTS = {onnx.TensorProto.DataType.Value(name) for name in ("INT32", "INT64", "BOOL", "STRING", "UNDEFINED")}
CONSTANTS = "(constants)"  # tensors that the exporter computed, and operations that read nothing else


def describe(file: Path) -> Description:
    """Describe an ONNX file as ``compress inspect`` shows it; a damaged one is an `InputError`."""
    graph = (proto := read(file)).graph
    initializers = {each.name for each in graph.initializer}
    layers: dict[str, GraphLayer] = {}
    for name in _owners(graph):
        _layer(layers, name)["n_nodes"] += 1
    for name, tensor in (*_weights(graph), *(each for body in proto.functions for each in _constants(body.node))):
        layer, n_values = _layer(layers, _owner(name)), math.prod(tensor.dims)
        layer["n_params"] += n_values
        layer["size_bytes"] += n_values * tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return {
        "kind": "onnx",
        "ir_version": proto.ir_version,
        "opset": {each.domain or "ai.onnx": each.version for each in proto.opset_import},
        "producer": f"{proto.producer_name} {proto.producer_version}".strip(),
        "metadata": {each.key: each.value for each in proto.metadata_props},
        "inputs": [_declared(each) for each in graph.input if each.name not in initializers],
        "outputs": [_declared(each) for each in graph.output],
        "n_params": sum(layer["n_params"] for layer in layers.values()),
        "n_nodes": len(graph.node),
        "size_bytes": file.stat().st_size + sum((file.parent / place).stat().st_size for place in _external(graph)),
        "ops": dict(Counter(node.op_type for node in graph.node).most_common()),
        "layers": list(layers.values()),
    }


def external_files(file: Path) -> list[str]:
    """List the files next to an ONNX file that contain its weights."""
    return sorted(_external(read(file).graph))


def read(file: Path) -> onnx.ModelProto:
    """Parse an ONNX file, without the weights in files next to it; a damaged one is an `InputError`."""
    if not file.is_file():
        raise InputError(f"{file}: no such file")
    try:
        proto = onnx.load(file, load_external_data=False)
    except (DecodeError, OSError) as error:
        raise InputError(f"{file}: not a readable ONNX file ({first_line(error)})") from error
    if not proto.graph.node:  # an empty file, or random bytes that happen to parse
        raise InputError(f"{file}: not an ONNX file, it has no operations")
    if not all(isinstance(name, str) for name in _names(proto.graph)):  # protobuf returns bytes if it is not text
        raise InputError(f"{file}: not a readable ONNX file (a name in it is not text)")
    types = {each.name: each.data_type or -1 for each in proto.graph.initializer}
    taken = {each.name: each.type.tensor_type.elem_type or -1 for each in proto.graph.input if _is_tensor(each)}
    given = {each.name: each.type.tensor_type.elem_type for each in proto.graph.output}
    for name, number in (types | taken | given).items():
        if number not in onnx.TensorProto.DataType.values():
            raise InputError(f"{file}: not a readable ONNX file ({name!r} has no known type)")
    for place in _external(proto.graph):
        if Path(place).is_absolute() or ".." in Path(place).parts:
            raise InputError(f"{file}: its weights should be next to it, got {place!r}")
        if not (file.parent / place).is_file():
            raise InputError(f"{file}: its weights are missing, {place!r} should be next to it")
    return proto


def size(axis: onnx.TensorShapeProto.Dimension) -> int | str | None:
    """Give the size of an axis; of a free one, which some write as -1, its name, if it has one."""
    return axis.dim_value if axis.HasField("dim_value") and axis.dim_value >= 0 else axis.dim_param or None


def layer_of(name: str) -> str:
    """Name of the layer of a parameter: up to its number and that of a block in it, or else the parameter's module.

    Examples
    --------
    >>> layer_of("bert.encoder.layer.0.attention.self.query.weight")
    'bert.encoder.layer.0'
    >>> layer_of("classifier.weight")
    'classifier'
    """
    numbered = LAYER.match(name)
    return numbered[0] if numbered else name.rpartition(".")[0]


def _names(graph: onnx.GraphProto) -> Iterable[str]:
    """Yield the names of operations, attributes and values."""
    for node in graph.node:
        yield from (node.op_type, node.domain, *node.input, *node.output)
        yield from (each.name for each in node.attribute)
    yield from (each.name for each in (*graph.initializer, *graph.input, *graph.output))


def _external(graph: onnx.GraphProto) -> set[str]:
    """Names, as written in the file, of the files with its weights, including those of branches and loops."""
    attributes = [each for node in graph.node for each in node.attribute]
    tensors = [*graph.initializer, *(each.t for each in attributes)]
    own = {entry.value for each in tensors for entry in each.external_data if entry.key == "location"}
    return own.union(*(_external(each.g) for each in attributes if each.type == onnx.AttributeProto.GRAPH))


def _weights(graph: onnx.GraphProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    """Yield the weights by name, those of branches and loops too."""
    yield from ((each.name, each) for each in graph.initializer)
    yield from _constants(graph.node)


def _constants(nodes: Iterable[onnx.NodeProto]) -> Iterator[tuple[str, onnx.TensorProto]]:
    """Yield what some exporters keep of the weights in operations: arrays of floats, or of eight bits."""
    for node in nodes:
        for each in node.attribute:
            if each.type == onnx.AttributeProto.GRAPH:
                yield from _weights(each.g)
            elif node.op_type == "Constant" and each.name == "value" and _is_weight(each.t):
                yield node.output[0], each.t
            elif node.op_type == "Constant" and each.name == "value_floats":
                yield node.output[0], onnx.TensorProto(data_type=onnx.TensorProto.FLOAT, dims=[len(each.floats)])


def _is_weight(tensor: onnx.TensorProto) -> bool:
    """Tell weights from numbers of an operation: sizes, indices, single factors."""
    return bool(tensor.dims) and tensor.data_type not in NO_WEIGHTS


def _is_tensor(value: onnx.ValueInfoProto) -> bool:
    return bool(value.type.HasField("tensor_type"))


def _owners(graph: onnx.GraphProto) -> Iterable[str]:
    """Yield the layer of each node: that of its weights, or else the latest of its inputs' layers."""
    order: list[str] = []
    owner = {each.name: _owner(each.name) for each in graph.initializer}
    fed: dict[str, str] = {}
    for node in graph.node:
        by_weights = [owner[name] for name in node.input if owner.get(name, CONSTANTS) != CONSTANTS]
        by_inputs = [fed[name] for name in node.input if name in fed]
        layer = by_weights[0] if by_weights else max(by_inputs, key=order.index, default=CONSTANTS)
        if layer not in order:
            order.append(layer)
        fed |= dict.fromkeys(node.output, layer)
        yield layer


def _owner(initializer: str) -> str:
    return layer_of(initializer) or CONSTANTS


def _layer(layers: dict[str, GraphLayer], name: str) -> GraphLayer:
    return layers.setdefault(name, {"name": name, "n_params": 0, "size_bytes": 0, "n_nodes": 0})


def _declared(value: onnx.ValueInfoProto) -> Declared:
    tensor = value.type.tensor_type
    shape = [size(axis) for axis in tensor.shape.dim]
    return {"name": value.name, "type": onnx.TensorProto.DataType.Name(tensor.elem_type).lower(), "shape": shape}
