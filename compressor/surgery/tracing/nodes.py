"""Nodes of a traced graph: the name of an operator, its tensors and other arguments."""

import operator
from typing import Any

from torch import Tensor
from torch.fx import Node


def shape_of(node: Node) -> tuple[int, ...]:
    """Shape of a tensor, with 0 for a size that depends on the data; empty for a node that is something else."""
    value = node.meta.get("val")
    return tuple(size if isinstance(size, int) else 0 for size in value.shape) if isinstance(value, Tensor) else ()


def depends_on_data(node: Node) -> bool:
    """Whether a tensor has a size that depends on the data, such as the number of entries that a mask selects."""
    value = node.meta.get("val")
    return isinstance(value, Tensor) and not all(isinstance(size, int) for size in value.shape)


def name_of(node: Node) -> str:
    """Name of the operator; `add` also for its variants that change a tensor in place."""
    if node.target is operator.getitem:
        return "getitem"
    return str(getattr(node.target, "_opname", node.target)).rstrip("_")


def inputs_of(node: Node) -> list[Node]:
    """List the tensors that an operator takes."""
    return [arg for arg in node.all_input_nodes if shape_of(arg)]


def argument(node: Node, index: int = 1) -> Any:
    """Return an argument that is not a tensor; None if it was left out."""
    return node.args[index] if len(node.args) > index else None


def axis_argument(node: Node, index: int, n_axes: int) -> int:
    """Return an argument that is an axis, counted from the left; the first one by default."""
    return int(argument(node, index) or 0) % n_axes
