"""The products of a graph by constant matrices: what a quantizer computes with integers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper


@dataclass(frozen=True)
class Product:
    """A MatMul or Gemm whose right factor is a matrix of the file."""

    node: onnx.NodeProto
    name: str
    """Path of the layer if its bias tells it, otherwise the name of the node."""

    @property
    def data(self) -> str:
        """Name of the left factor."""
        return str(self.node.input[0])

    @property
    def weight(self) -> str:
        """Name of the matrix."""
        return str(self.node.input[1])

    @property
    def bias(self) -> str | None:
        """Name of what a Gemm adds."""
        return str(self.node.input[2]) if self.node.op_type == "Gemm" and len(self.node.input) > 2 else None

    @property
    def matrix_name(self) -> str:
        """Name for the values that `matrix` gives: they may be those of the tensor, transposed."""
        return f"{self.weight}_transposed" if self._is_transposed else self.weight

    @property
    def _is_transposed(self) -> bool:
        return bool(_attributes(self.node).get("transB"))

    def matrix(self, tensors: Mapping[str, onnx.TensorProto]) -> np.ndarray[Any, Any]:
        """Values of the matrix, shape (n_in, n_out)."""
        values = numpy_helper.to_array(tensors[self.weight])
        return values.T if self._is_transposed else values


def tensors_of(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """Give the constant tensors of a graph by their names."""
    return {tensor.name: tensor for tensor in graph.initializer}


def products(graph: onnx.GraphProto) -> list[Product]:
    """List the products by constant float matrices, in the order of the graph."""
    tensors = tensors_of(graph)
    readers = _readers(graph)
    found = [node for node in graph.node if node.op_type in ("MatMul", "Gemm") and _is_product(node, tensors)]
    return [Product(node, _name(node, readers, tensors)) for node in found]


def replaced(graph: onnx.GraphProto, made: Mapping[str, list[onnx.NodeProto]]) -> None:
    """Put nodes in the place of those that gave an output, and drop the tensors that nothing reads any more.

    ``made`` maps the name of a node's first output to the nodes that give it now.
    """
    nodes = [new for node in graph.node for new in made.get(node.output[0], [node])]
    read = {name for node in nodes for name in node.input} | {each.name for each in graph.output}
    read |= {name for node in nodes for each in node.attribute for name in _read_inside(each)}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)


def add_tensor(graph: onnx.GraphProto, name: str, values: np.ndarray[Any, Any]) -> str:
    """Add a constant tensor to a graph, and give its name."""
    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
    return name


def _is_product(node: onnx.NodeProto, tensors: Mapping[str, onnx.TensorProto]) -> bool:
    weight = tensors.get(node.input[1])
    if weight is None or len(weight.dims) != 2 or weight.data_type != onnx.TensorProto.FLOAT:
        return False
    settings = _attributes(node)
    return not settings.get("transA") and settings.get("alpha", 1.0) == settings.get("beta", 1.0) == 1.0


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {each.name: helper.get_attribute_value(each) for each in node.attribute}


def _name(
    node: onnx.NodeProto, readers: Mapping[str, list[onnx.NodeProto]], tensors: Mapping[str, onnx.TensorProto]
) -> str:
    added = [*node.input[2:]]
    for reader in readers.get(node.output[0], []):
        added += [name for name in reader.input if reader.op_type == "Add" and name in tensors]
    named = [name.removesuffix(".bias") for name in (*added, node.input[1]) if name.endswith((".bias", ".weight"))]
    return named[0].removesuffix(".weight") if named else str(node.name or node.output[0])


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
