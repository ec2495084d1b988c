"""The products of a graph by constant matrices: what a quantizer computes with integers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper


@dataclass(frozen=True)
class Product:
    """A MatMul whose right factor is a matrix of the file."""

    node: onnx.NodeProto
    name: str
    """Path of the layer if its parameters tell it, otherwise the name of the node."""

    @property
    def data(self) -> str:
        """Name of the left factor."""
        return str(self.node.input[0])

    @property
    def weight(self) -> str:
        """Name of the matrix, shape (n_in, n_out)."""
        return str(self.node.input[1])


def tensors_of(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """Give the constant tensors of a graph by their names."""
    return {tensor.name: tensor for tensor in graph.initializer}


def products(graph: onnx.GraphProto) -> list[Product]:
    """List the products by constant float matrices, in the order of the graph."""
    tensors = tensors_of(graph)
    readers = _readers(graph)
    found = [node for node in graph.node if node.op_type == "MatMul" and is_matrix(node.input[1], tensors)]
    return [Product(node, _name(node, readers, tensors)) for node in found]


def replaced(graph: onnx.GraphProto, made: Mapping[str, list[onnx.NodeProto]]) -> None:
    """Put nodes in the place of those that gave an output, and drop the tensors that nothing reads any more.

    ``made`` maps the name of a node's first output to the nodes that give it now.
    """
    nodes = [new for node in graph.node for new in made.get(node.output[0], [node])]
    read = {name for node in nodes for name in node.input} | {each.name for each in graph.output}
    read |= {name for node in nodes for each in node.attribute for name in _read_inside(each)}
    del graph.node[:]
    graph.node.extend(nodes)
    for index in reversed(range(len(graph.initializer))):  # one by one: a new list would be a copy of all weights
        if graph.initializer[index].name not in read:
            del graph.initializer[index]


def add_tensor(graph: onnx.GraphProto, name: str, values: np.ndarray[Any, Any]) -> str:
    """Add a constant tensor to a graph, and give its name."""
    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
    return name


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Give the attributes of a node by their names."""
    return {each.name: helper.get_attribute_value(each) for each in node.attribute}


def is_matrix(name: str, tensors: Mapping[str, onnx.TensorProto]) -> bool:
    """Whether this is the name of a float matrix of the file."""
    tensor = tensors.get(name)
    return tensor is not None and len(tensor.dims) == 2 and tensor.data_type == onnx.TensorProto.FLOAT


def _name(
    node: onnx.NodeProto, readers: Mapping[str, list[onnx.NodeProto]], tensors: Mapping[str, onnx.TensorProto]
) -> str:
    """Name a product by the parameter that it alone reads: exporters store equal parameters once."""
    adding = [reader for reader in readers.get(node.output[0], []) if reader.op_type == "Add"]
    read = [node.input[1], *(name for reader in adding for name in reader.input if name in tensors)]
    own = [name for name in read if len(readers[name]) == 1 and name.endswith((".bias", ".weight"))]
    return own[0].rpartition(".")[0] if own else str(node.name)


def _readers(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto]]:
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    return readers


def _read_inside(attribute: onnx.AttributeProto) -> Iterator[str]:
    """Yield the names that a branch or the body of a loop reads."""
    for graph in (attribute.g, *attribute.graphs):
        for node in graph.node:
            yield from node.input
            for each in node.attribute:
                yield from _read_inside(each)
