"""What a saved network or an ONNX file is made of, layer by layer: widths, parameters, operations, bytes."""

import math
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError
from onnx.helper import tensor_dtype_to_np_dtype
from torch import nn

from compressor import pretrained, surgery
from compressor.checkpoint import WEIGHTS, arch_of
from compressor.errors import InputError
from compressor.hub import first_line
from compressor.model import flops_by_module, load

LAYER = re.compile(r"(?:[^.]+\.)*?\d+(?:\.[^.]+\.\d+)?(?=\.)")  # bert.encoder.layer.0, resnet.encoder.stages.0.layers.1
CONSTANTS = "(constants)"  # tensors that the exporter computed, and what reads nothing else
LENGTH = 32  # tokens of the text that operations are counted for

Facts = dict[str, Any]


def take(path: Path) -> Facts:
    """Describe a folder with a network in it, or an ONNX file.

    Parameters
    ----------
    path : Path
        A checkpoint of a supported family, cut or not; a folder with ``model.onnx``; or an ONNX file.

    Returns
    -------
    dict
        What ``compress inspect --json`` prints; ``kind`` is "model" or "onnx".

    Raises
    ------
    InputError
        If there is nothing at the path, or it is damaged or of a family that is not supported.
    """
    if path.is_file():
        return _graph(path)
    if not path.is_dir():
        raise InputError(f"{path}: neither a folder nor a file; give a folder with a network, or an ONNX file")
    if (path / "model.onnx").is_file() and not any(path.glob(WEIGHTS)):
        return _graph(path / "model.onnx")
    return _network(path)


def layer_of(name: str) -> str:
    """Name the layer that a parameter belongs to: up to its number and that of a block in it, else what owns it.

    Examples
    --------
    >>> layer_of("bert.encoder.layer.0.attention.self.query.weight")
    'bert.encoder.layer.0'
    >>> layer_of("classifier.weight")
    'classifier'
    """
    found = LAYER.match(name)
    return found[0] if found else name.rpartition(".")[0]


def _network(folder: Path) -> Facts:
    net = load(folder)
    original = pretrained.uncut(net)
    arch = arch_of(net.config.model_type)
    is_text = net.main_input_name == "input_ids"
    flops = flops_by_module(net, 1, LENGTH)
    parameters = list(net.named_parameters())  # tied ones once
    sizes_before = {width.name: width.size for width in arch.widths(original)}
    return {
        "kind": "model",
        "family": net.config.model_type,
        "class": type(net).__name__,
        "n_params": surgery.n_params(net),
        "n_params_original": surgery.n_params(original),
        "n_flops": flops[""],
        "flops_at": f"1x{LENGTH}" if is_text else "1",
        "size_bytes": sum(weights.nbytes for _, weights in parameters),
        "widths": [
            {
                "name": width.name,
                "kind": width.kind,
                "n_units": width.size,
                "n_units_original": sizes_before[width.name],
                "n_dead": int(surgery.dead_units(net, width).sum()),
            }
            for width in arch.widths(net)
        ],
        "layers": [
            {
                "name": name,
                "n_params": sum(weights.numel() for weights in members),
                "n_flops": flops.get(name, 0),
                "size_bytes": sum(weights.nbytes for weights in members),
            }
            for name, members in _grouped(parameters).items()
        ],
    }


def _grouped(parameters: Iterable[tuple[str, nn.Parameter]]) -> dict[str, list[nn.Parameter]]:
    layers: dict[str, list[nn.Parameter]] = {}
    for name, weights in parameters:
        layers.setdefault(layer_of(name), []).append(weights)
    return layers


def _graph(file: Path) -> Facts:
    graph = (proto := _read(file)).graph
    n_values = {each.name: math.prod(each.dims) for each in graph.initializer}
    layers: dict[str, Facts] = {}
    for name in _owners(graph):
        _layer(layers, name)["n_nodes"] += 1
    for each in graph.initializer:
        layer = _layer(layers, _owner(each.name))
        layer["n_params"] += n_values[each.name]
        layer["size_bytes"] += n_values[each.name] * tensor_dtype_to_np_dtype(each.data_type).itemsize
    return {
        "kind": "onnx",
        "opset": {each.domain or "ai.onnx": each.version for each in proto.opset_import},
        "producer": f"{proto.producer_name} {proto.producer_version}".strip(),
        "metadata": {each.key: each.value for each in proto.metadata_props},
        "inputs": [_declared(each) for each in graph.input if each.name not in n_values],
        "outputs": [_declared(each) for each in graph.output],
        "n_params": sum(n_values.values()),
        "n_nodes": len(graph.node),
        "size_bytes": file.stat().st_size + sum(part.stat().st_size for part in _external(file, graph)),
        "ops": dict(Counter(node.op_type for node in graph.node).most_common()),
        "layers": list(layers.values()),
    }


def _read(file: Path) -> onnx.ModelProto:
    """Parse an ONNX file, without the weights that lie beside it."""
    try:
        proto = onnx.load(file, load_external_data=False)
    except (DecodeError, OSError) as error:
        raise InputError(f"{file}: not a readable ONNX file ({first_line(error)})") from error
    if not proto.graph.node:  # an empty file, or chance bytes that parse
        raise InputError(f"{file}: not an ONNX file, no operation is in it")
    for part in _external(file, proto.graph):
        if not part.is_file():
            raise InputError(f"{file}: its weights are missing, {part.name!r} should lie beside it")
    return proto


def _external(file: Path, graph: onnx.GraphProto) -> set[Path]:
    """Files beside this one that hold its weights."""
    places = (entry.value for each in graph.initializer for entry in each.external_data if entry.key == "location")
    return {file.parent / place for place in places}


def _owners(graph: onnx.GraphProto) -> Iterable[str]:
    """Yield the layer of each node: that of its weights, else the latest of those that feed it."""
    order: list[str] = []
    owner = {each.name: _owner(each.name) for each in graph.initializer}
    fed: dict[str, str] = {}
    for node in graph.node:
        mine = [owner[name] for name in node.input if owner.get(name, CONSTANTS) != CONSTANTS]
        before = [fed[name] for name in node.input if name in fed]
        found = mine[0] if mine else max(before, key=order.index, default=CONSTANTS)
        if found not in order:
            order.append(found)
        fed |= dict.fromkeys(node.output, found)
        yield found


def _owner(initializer: str) -> str:
    return layer_of(initializer) or CONSTANTS


def _layer(layers: dict[str, Facts], name: str) -> Facts:
    return layers.setdefault(name, {"name": name, "n_params": 0, "size_bytes": 0, "n_nodes": 0})


def _declared(value: onnx.ValueInfoProto) -> Facts:
    tensor = value.type.tensor_type
    shape = [axis.dim_param or axis.dim_value for axis in tensor.shape.dim]
    return {"name": value.name, "type": onnx.TensorProto.DataType.Name(tensor.elem_type).lower(), "shape": shape}
