"""Which dimensions of the tensors in a traced graph are one and the same, and which of them must keep their size.

Each operator has a rule that enters what it says of its inputs and outputs. Of an operator without one, all dimensions
keep their size, and so do those that are normalised or reduced over.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor
from torch.fx import Graph, Node

Dim = tuple[Node, int]
"""A tensor of the graph, and one of its axes."""


def classes_of(graph: Graph) -> "Classes":
    """Walk a graph, and let every operator enter what it says."""
    classes = Classes()
    for node in graph.nodes:
        _relate(node, classes)
    return classes


class Classes:
    """Dimensions that are one and the same (union-find), and those that are mixed: they must keep their size."""

    def __init__(self) -> None:
        self.parents: dict[Dim, Dim] = {}
        self.mixed: set[Dim] = set()

    def root(self, dim: Dim) -> Dim:
        """Give the dimension that stands for the class of this one."""
        while (parent := self.parents.get(dim, dim)) != dim:
            dim = parent
        return dim

    def unify(self, *dims: Dim) -> None:
        """Make these dimensions one class."""
        for one, other in pairwise(dims):
            self.parents[self.root(one)] = self.root(other)

    def mix(self, node: Node, *axes: int) -> None:
        """Take dimensions of a tensor, all by default, out of what can be cut."""
        self.mixed |= {(node, axis) for axis in axes or range(len(_shape(node)))}

    def of(self, tensors: Iterable[Node]) -> list[list[Dim]]:
        """Group the dimensions of these tensors, in their order, without the classes that are mixed."""
        mixed = {self.root(dim) for dim in self.mixed}
        found: dict[Dim, list[Dim]] = defaultdict(list)
        for node in tensors:
            for axis in range(len(_shape(node))):
                found[self.root((node, axis))].append((node, axis))
        return [members for root, members in found.items() if root not in mixed]


def _shape(node: Node) -> tuple[int, ...]:
    """Shape of a tensor; a node that stands for something else has none."""
    value = node.meta.get("val")
    return tuple(value.shape) if isinstance(value, Tensor) else ()


def _relate(node: Node, classes: Classes) -> None:
    """Enter what an operator says of its dimensions; of an unknown one, all are mixed."""
    if node.op != "call_function":
        return
    rule = next((rule for rule, names in _RULES.items() if _name(node) in names), _unknown)
    rule(node, classes)


def _name(node: Node) -> str:
    """Name the operator, `add` for its variants that change a tensor in place too."""
    return str(getattr(node.target, "_opname", node.target)).rstrip("_")


def _inputs(node: Node) -> list[Node]:
    return [arg for arg in node.all_input_nodes if _shape(arg)]


def _argument(node: Node, index: int = 1) -> Any:
    """Give an argument that is no tensor; None where it was left out."""
    return node.args[index] if len(node.args) > index else None


def _unknown(node: Node, classes: Classes) -> None:
    for tensor in (node, *_inputs(node)):
        classes.mix(tensor)


def _pointwise(node: Node, classes: Classes) -> None:
    """Unify from the right; a dimension of 1 is repeated along the other."""
    shape = _shape(node)
    for tensor in _inputs(node):
        offset = len(shape) - len(_shape(tensor))
        for axis, size in enumerate(_shape(tensor)):
            if size == shape[axis + offset]:
                classes.unify((tensor, axis), (node, axis + offset))


def _linear(node: Node, classes: Classes) -> None:
    inputs, weight, *bias = _inputs(node)
    last = len(_shape(node)) - 1
    classes.unify((node, last), (weight, 0), *((each, 0) for each in bias))
    classes.unify((inputs, last), (weight, 1))
    for axis in range(last):
        classes.unify((inputs, axis), (node, axis))


def _addmm(node: Node, classes: Classes) -> None:
    bias, inputs, weight = _inputs(node)
    classes.unify((node, 1), (weight, 1), (bias, 0))
    classes.unify((inputs, 1), (weight, 0))
    classes.unify((inputs, 0), (node, 0))


def _convolution(node: Node, classes: Classes) -> None:
    inputs, weight, *bias = _inputs(node)
    n_out, n_in = _shape(weight)[:2]
    is_depthwise = n_in == 1 and _shape(inputs)[1] == n_out > 1
    if n_in != _shape(inputs)[1] and not is_depthwise:
        return _unknown(node, classes)
    classes.unify((node, 1), (weight, 0), *((each, 0) for each in bias))
    classes.unify((inputs, 1), (weight, 0 if is_depthwise else 1))
    classes.unify((inputs, 0), (node, 0))
    for tensor in (inputs, node, weight):
        classes.mix(tensor, *range(2, len(_shape(tensor))))


def _batch_norm(node: Node, classes: Classes) -> None:
    inputs, *vectors = _inputs(node)
    classes.unify((node, 1), *((each, 0) for each in vectors))
    for axis in range(len(_shape(node))):
        classes.unify((inputs, axis), (node, axis))


def _pool(node: Node, classes: Classes) -> None:
    (inputs,) = _inputs(node)
    for axis in range(2):
        classes.unify((inputs, axis), (node, axis))
    for tensor in (inputs, node):
        classes.mix(tensor, *range(2, len(_shape(tensor))))


def _reduce(node: Node, classes: Classes) -> None:
    """Mix the axes that a mean or a softmax runs over; the others pass, in their order."""
    (inputs,) = _inputs(node)
    n_axes, given = len(_shape(inputs)), _argument(node)
    if given is None:
        return _unknown(node, classes)
    over = {axis % n_axes for axis in ([given] if isinstance(given, int) else given)}
    classes.mix(inputs, *over)
    is_same = len(_shape(node)) == n_axes
    left = [axis for axis in range(n_axes) if axis not in over]
    for position, axis in enumerate(left):
        classes.unify((inputs, axis), (node, axis if is_same else position))


def _layer_norm(node: Node, classes: Classes) -> None:
    inputs, *vectors = _inputs(node)
    n_axes, n_normalised = len(_shape(node)), len(_argument(node))
    for axis in range(n_axes):
        classes.unify((inputs, axis), (node, axis))
    classes.mix(node, *range(n_axes - n_normalised, n_axes))
    for each in vectors:
        classes.mix(each)


def _permute(node: Node, classes: Classes) -> None:
    (inputs,) = _inputs(node)
    order = list(range(len(_shape(inputs))))
    if _name(node) == "permute":
        order = [axis % len(order) for axis in _argument(node)]
    else:
        one, other = (axis % len(order) for axis in (_argument(node, 1), _argument(node, 2)))
        order[one], order[other] = order[other], order[one]
    for axis, source in enumerate(order):
        classes.unify((inputs, source), (node, axis))


def _reshape(node: Node, classes: Classes) -> None:
    """Unify what has the same size from the left, then from the right; mix what lies between."""
    (inputs,) = _inputs(node)
    before, after = _shape(inputs), _shape(node)
    n_left = _n_equal(before, after)
    n_right = _n_equal(before[n_left:][::-1], after[n_left:][::-1])
    for axis in range(n_left):
        classes.unify((inputs, axis), (node, axis))
    for axis in range(1, n_right + 1):
        classes.unify((inputs, len(before) - axis), (node, len(after) - axis))
    for tensor, shape in ((inputs, before), (node, after)):
        between = [axis for axis in range(n_left, len(shape) - n_right) if shape[axis] > 1]
        if between:
            classes.mix(tensor, *between)


def _n_equal(before: Sequence[int], after: Sequence[int]) -> int:
    """Count the leading sizes that agree."""
    shared = min(len(before), len(after))
    return next((i for i in range(shared) if before[i] != after[i]), shared)


def _pad(node: Node, classes: Classes) -> None:
    (inputs,) = _inputs(node)
    n_axes = len(_shape(node))
    for axis in range(n_axes):
        if axis < n_axes - len(_argument(node)) // 2:
            classes.unify((inputs, axis), (node, axis))
        else:
            classes.mix(inputs, axis)
            classes.mix(node, axis)


_POINTWISE = (
    *(
        "add",
        "sub",
        "mul",
        "div",
        "neg",
        "abs",
        "exp",
        "sqrt",
        "pow",
        "clamp",
        "relu",
        "relu6",
        "gelu",
        "silu",
        "sigmoid",
    ),
    *("tanh", "hardtanh", "hardswish", "hardsigmoid", "leaky_relu", "elu", "mish", "softplus", "dropout"),
    *("feature_dropout", "clone", "contiguous", "to", "detach", "alias"),
)
_RULES: dict[Callable[[Node, Classes], None], tuple[str, ...]] = {
    _pointwise: _POINTWISE,
    _linear: ("linear",),
    _addmm: ("addmm",),
    _convolution: ("conv1d", "conv2d"),
    _batch_norm: ("batch_norm",),
    _pool: ("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "adaptive_avg_pool1d", "max_pool1d", "avg_pool1d"),
    _reduce: ("mean", "sum", "amax", "softmax"),
    _layer_norm: ("layer_norm",),
    _permute: ("permute", "transpose"),
    _reshape: ("view", "reshape", "flatten"),
    _pad: ("pad",),
}
