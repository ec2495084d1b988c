"""What each operator of a traced graph says of the axes of its inputs and outputs: which entries go together.

Of an operator without a rule, all axes keep their size.
"""

import operator
from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Any

from torch.fx import Graph, Node

from compressor.links import Entries, Links, shape_of


def links_of(graph: Graph) -> Links:
    """Walk a graph, and let every operator enter what it says."""
    links = Links()
    for node in graph.nodes:
        if node.op == "call_function":
            _RULES.get(name_of(node), _unknown)(node, links)
    return links


def name_of(node: Node) -> str:
    """Name the operator, `add` for its variants that change a tensor in place too."""
    if node.target is operator.getitem:
        return "getitem"
    return str(getattr(node.target, "_opname", node.target)).rstrip("_")


def _inputs(node: Node) -> list[Node]:
    return [arg for arg in node.all_input_nodes if shape_of(arg)]


def _argument(node: Node, index: int = 1) -> Any:
    """Give an argument that is no tensor; None where it was left out."""
    return node.args[index] if len(node.args) > index else None


def _axis(node: Node, index: int, n_axes: int) -> int:
    """Give an argument that is an axis, counted from the left; the first one by default."""
    return int(_argument(node, index) or 0) % n_axes


def _unknown(node: Node, links: Links) -> None:
    for tensor in (node, *_inputs(node)):
        links.fix(f"no rule for the operator {name_of(node)!r}", tensor)


def _pointwise(node: Node, links: Links) -> None:
    """Link from the right; a dimension of 1 is repeated along the other."""
    shape = shape_of(node)
    for tensor in _inputs(node):
        offset = len(shape) - len(shape_of(tensor))
        for axis, size in enumerate(shape_of(tensor)):
            if size == shape[axis + offset]:
                links.unify((tensor, axis), (node, axis + offset))


def _linear(node: Node, links: Links) -> None:
    inputs, weight, *bias = _inputs(node)
    last = len(shape_of(node)) - 1
    links.unify((node, last), (weight, 0), *((each, 0) for each in bias))
    links.unify((inputs, last), (weight, 1))
    for axis in range(last):
        links.unify((inputs, axis), (node, axis))


def _addmm(node: Node, links: Links) -> None:
    bias, inputs, weight = _inputs(node)
    links.unify((node, 1), (weight, 1), (bias, 0))
    links.unify((inputs, 1), (weight, 0))
    links.unify((inputs, 0), (node, 0))


def _embedding(node: Node, links: Links) -> None:
    weight, *indices = _inputs(node)
    last = len(shape_of(node)) - 1
    links.unify((node, last), (weight, 1))
    links.fix("looked up by index", weight, 0)
    for axis in range(last if indices else 0):
        links.unify((indices[0], axis), (node, axis))


def _convolution(node: Node, links: Links) -> None:
    """Link each output channel with its row of the weight; a group of channels goes whole, inputs and outputs."""
    inputs, weight, *bias = _inputs(node)
    n_groups = shape_of(inputs)[1] // shape_of(weight)[1]
    links.unify((node, 1), (weight, 0), *((each, 0) for each in bias))
    links.unify((inputs, 0), (node, 0))
    if n_groups == 1:
        links.unify((inputs, 1), (weight, 1))
    else:
        read, written = (_rows(links.entries(*dim), n_groups) for dim in ((inputs, 1), (weight, 0)))
        links.link(read[:, :1], read)
        links.link(read[:, :1], written)
        links.fix("inside a group of a convolution", weight, 1)
    for tensor in (inputs, node, weight):
        if len(shape_of(tensor)) > 2:
            links.fix("a convolution moves along it", tensor, *range(2, len(shape_of(tensor))))


def _rows(entries: Entries, n_rows: int) -> Entries:
    return entries.reshape(n_rows, -1)


def _batch_norm(node: Node, links: Links) -> None:
    links.unify((node, 1), *((each, 0) for each in _inputs(node)[1:]))
    _same(node, links)


def _same(node: Node, links: Links) -> None:
    inputs = _inputs(node)[0]
    for axis in range(len(shape_of(node))):
        links.unify((inputs, axis), (node, axis))


def _per_channel_weight(node: Node, links: Links) -> None:
    """Pass all axes; a weight has one entry for each channel, or one for all."""
    _same(node, links)
    weight = _inputs(node)[1]
    if shape_of(weight)[0] > 1:
        links.unify((node, 1), (weight, 0))


def _pool(node: Node, links: Links) -> None:
    (inputs,) = _inputs(node)
    for axis in range(2):
        links.unify((inputs, axis), (node, axis))
    for tensor in (inputs, node):
        links.fix("pooled over", tensor, *range(2, len(shape_of(tensor))))


def _reduce(node: Node, links: Links) -> None:
    """Fix the axes that a mean or a softmax runs over; the others pass, in their order."""
    (inputs,) = _inputs(node)
    n_axes, given = len(shape_of(inputs)), _argument(node)
    if given is None:
        return _unknown(node, links)
    over = {axis % n_axes for axis in ([given] if isinstance(given, int) else given)}
    links.fix(f"the operator {name_of(node)!r} runs over it", inputs, *over)
    is_same = len(shape_of(node)) == n_axes
    left = [axis for axis in range(n_axes) if axis not in over]
    for position, axis in enumerate(left):
        links.unify((inputs, axis), (node, axis if is_same else position))


def _layer_norm(node: Node, links: Links) -> None:
    """Pass all axes, and note that the last one is normalised over, with its weight; more than one are fixed."""
    _same(node, links)
    last = len(shape_of(node)) - 1
    if len(_argument(node)) > 1:
        return links.fix("normalised together with other axes", node, *range(last + 1 - len(_argument(node)), last + 1))
    links.normalise(node, last)
    for vector in _inputs(node)[1:]:
        links.unify((vector, 0), (node, last))


def _group_norm(node: Node, links: Links) -> None:
    _same(node, links)
    if _argument(node) > 1:
        return links.fix("normalised in groups", node, 1)
    links.normalise(node, 1)
    for vector in _inputs(node)[1:]:
        links.unify((vector, 0), (node, 1))


def _permute(node: Node, links: Links) -> None:
    (inputs,) = _inputs(node)
    order = list(range(len(shape_of(inputs))))
    if name_of(node) == "permute":
        order = [axis % len(order) for axis in _argument(node)]
    else:
        one, other = (axis % len(order) for axis in (_argument(node, 1), _argument(node, 2)))
        order[one], order[other] = order[other], order[one]
    for axis, source in enumerate(order):
        links.unify((inputs, source), (node, axis))


def _reshape(node: Node, links: Links) -> None:
    """Link axes that stay, and axes that are flattened with the first of them; fix those that are split."""
    (inputs,) = _inputs(node)
    for before, after in _regrouped(shape_of(inputs), shape_of(node)):
        if len(before) == len(after) == 1:
            links.unify((inputs, before[0]), (node, after[0]))
        elif len(after) == 1:
            first = links.entries(inputs, before[0])
            links.link(first[:, None], _rows(links.entries(node, after[0]), len(first)))
            links.fix("flattened behind another axis", inputs, *before[1:])
        else:
            for tensor, axes in ((inputs, before), (node, after)):
                links.fix("split by a reshape", tensor, *axes)


def _regrouped(before: Sequence[int], after: Sequence[int]) -> Iterator[tuple[list[int], list[int]]]:
    """Pair the shortest runs of axes that hold the same number of entries; axes of size 1 are left out."""
    left, right = ([axis for axis, size in enumerate(shape) if size != 1] for shape in (before, after))
    while left or right:
        run = ([left.pop(0)], [right.pop(0)])
        while (n_left := prod(before[i] for i in run[0])) != (n_right := prod(after[i] for i in run[1])):
            if n_left < n_right:
                run[0].append(left.pop(0))
            else:
                run[1].append(right.pop(0))
        yield run


def _concatenate(node: Node, links: Links) -> None:
    """Link each part with its stretch of the whole."""
    parts: Any = node.args[0]
    axis, start = _axis(node, 1, len(shape_of(node))), 0
    for part in parts:
        for other in range(len(shape_of(node))):
            if other != axis:
                links.unify((part, other), (node, other))
        end = start + shape_of(part)[axis]
        links.link(links.entries(part, axis), links.entries(node, axis)[start:end])
        start = end


def _item(node: Node, links: Links) -> None:
    """Take a part of what an operator cut in pieces; its rule has nothing but the pieces to enter."""
    pieces: Any = node.args[0]
    if name_of(pieces) not in ("chunk", "split", "split_with_sizes"):
        return links.fix(f"no rule for the operator {name_of(pieces)!r}", node)
    inputs, n_axes = _inputs(pieces)[0], len(shape_of(node))
    axis, n_pieces = _axis(pieces, 2, n_axes), len(pieces.meta["val"])
    for other in range(n_axes):
        if other != axis:
            links.unify((inputs, other), (node, other))
    if name_of(pieces) == "chunk" and shape_of(node)[axis] * n_pieces == shape_of(inputs)[axis]:
        links.link(links.entries(node, axis), _rows(links.entries(inputs, axis), n_pieces))
    else:
        links.fix("split at a fixed place", node, axis)
        links.fix("split at a fixed place", inputs, axis)


def _select(node: Node, links: Links) -> None:
    """Fix the axis that an index or a slice takes entries of; the others pass."""
    (inputs,) = _inputs(node)
    n_axes = len(shape_of(inputs))
    axis = _axis(node, 1, n_axes)
    is_whole = len(shape_of(node)) == n_axes and shape_of(node)[axis] == shape_of(inputs)[axis]
    if not is_whole:
        links.fix("taken from by index", inputs, axis)
    left = [other for other in range(n_axes) if other != axis or is_whole]
    is_same = len(shape_of(node)) == n_axes
    for position, other in enumerate(left):
        links.unify((inputs, other), (node, other if is_same else position))
    if is_same and not is_whole:
        links.fix("taken from by index", node, axis)


def _pieces(node: Node, links: Links) -> None:
    """Have nothing to enter: the pieces do."""


def _pad(node: Node, links: Links) -> None:
    (inputs,) = _inputs(node)
    amounts: Any = _argument(node)
    n_axes = len(shape_of(node))
    for axis in range(n_axes):
        place = 2 * (n_axes - 1 - axis)
        if not any(amounts[place : place + 2]):
            links.unify((inputs, axis), (node, axis))
        else:
            links.fix("padded", inputs, axis)
            links.fix("padded", node, axis)


VIEWS = ("view", "reshape", "unsqueeze", "expand", "to", "clone", "contiguous")
POINTWISE = (
    *(
        "add",
        "sub",
        "mul",
        "div",
        "neg",
        "abs",
        "exp",
        "sqrt",
        "rsqrt",
        "pow",
        "clamp",
        "relu",
        "relu6",
        "gelu",
        "silu",
    ),
    *("sigmoid", "tanh", "hardtanh", "hardswish", "hardsigmoid", "leaky_relu", "elu", "celu", "selu", "mish"),
    *("softplus", "dropout", "feature_dropout", "clone", "contiguous", "to", "_to_copy", "detach", "alias", "expand"),
)
_RULES: dict[str, Callable[[Node, Links], None]] = {
    **dict.fromkeys(POINTWISE, _pointwise),
    **dict.fromkeys(("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d"), _pool),
    **dict.fromkeys(("max_pool1d", "avg_pool1d", "adaptive_avg_pool1d", "adaptive_max_pool1d"), _pool),
    **dict.fromkeys(("upsample_nearest2d", "upsample_bilinear2d"), _pool),
    **dict.fromkeys(("mean", "sum", "amax", "softmax"), _reduce),
    **dict.fromkeys(("view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze"), _reshape),
    **dict.fromkeys(("permute", "transpose"), _permute),
    **dict.fromkeys(("conv1d", "conv2d"), _convolution),
    **dict.fromkeys(("chunk", "split", "split_with_sizes"), _pieces),
    **dict.fromkeys(("select", "slice"), _select),
    "linear": _linear,
    "addmm": _addmm,
    "embedding": _embedding,
    "batch_norm": _batch_norm,
    "prelu": _per_channel_weight,
    "layer_norm": _layer_norm,
    "rms_norm": _layer_norm,
    "group_norm": _group_norm,
    "cat": _concatenate,
    "getitem": _item,
    "pad": _pad,
}
