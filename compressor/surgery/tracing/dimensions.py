"""Rules for the operators of a traced graph: which entries of their inputs and outputs can only be removed together.

All axes of an operator without a rule keep their size.
"""

from collections.abc import Callable

from torch.fx import Graph, Node

from compressor.surgery.tracing.links import Links
from compressor.surgery.tracing.nodes import argument, depends_on_data, inputs_of, name_of, shape_of
from compressor.surgery.tracing.rearranging import concatenate, gate, item, nothing, pad, permute, reshape, rows, select


def links_of(graph: Graph) -> Links:
    """Walk a graph, and add the links of every operator."""
    links = Links()
    for node in graph.nodes:
        if node.op == "call_function":
            _rule_of(node)(node, links)
    return links


def _rule_of(node: Node) -> Callable[[Node, Links], None]:
    name, tensors = name_of(node), inputs_of(node)
    if any(map(depends_on_data, (node, *tensors))):
        return _varying
    if not tensors and name != "getitem":  # made of numbers alone
        return _unknown
    return _RULES.get(name, _unknown)


def _unknown(node: Node, links: Links) -> None:
    for tensor in (node, *inputs_of(node)):
        links.fix(f"no rule for the operator {name_of(node)!r}", tensor)


def _varying(node: Node, links: Links) -> None:
    for tensor in (node, *inputs_of(node)):
        links.fix("a size next to it depends on the data", tensor)


def _pointwise(node: Node, links: Links) -> None:
    """Link axes from the right; an axis of size 1 is broadcast."""
    shape = shape_of(node)
    for tensor in inputs_of(node):
        offset = len(shape) - len(shape_of(tensor))
        for axis, size in enumerate(shape_of(tensor)):
            if size == shape[axis + offset]:
                links.unify((tensor, axis), (node, axis + offset))


def _linear(node: Node, links: Links) -> None:
    inputs, weight, *bias = inputs_of(node)
    last = len(shape_of(node)) - 1
    links.unify((node, last), (weight, 0), *((each, 0) for each in bias))
    links.unify((inputs, last), (weight, 1))
    for axis in range(last):
        links.unify((inputs, axis), (node, axis))


def _addmm(node: Node, links: Links) -> None:
    bias, inputs, weight = inputs_of(node)
    links.unify((node, 1), (weight, 1), (bias, 0))
    links.unify((inputs, 1), (weight, 0))
    links.unify((inputs, 0), (node, 0))


def _embedding(node: Node, links: Links) -> None:
    weight, *indices = inputs_of(node)
    last = len(shape_of(node)) - 1
    links.unify((node, last), (weight, 1))
    links.fix("looked up by index", weight, 0)
    for axis in range(last if indices else 0):
        links.unify((indices[0], axis), (node, axis))


def _convolution(node: Node, links: Links) -> None:
    """Link each output channel with its row of the weight; the inputs and outputs of a group can only go together."""
    inputs, weight, *bias = inputs_of(node)
    if len(shape_of(inputs)) != len(shape_of(weight)):  # one image without a batch
        return _unknown(node, links)
    n_groups = shape_of(inputs)[1] // shape_of(weight)[1]
    links.unify((node, 1), (weight, 0), *((each, 0) for each in bias))
    links.unify((inputs, 0), (node, 0))
    if n_groups == 1:
        links.unify((inputs, 1), (weight, 1))
    else:
        read, written = (rows(links.entries(*dim), n_groups) for dim in ((inputs, 1), (weight, 0)))
        links.link(read[:, :1], read)
        links.link(read[:, :1], written)
        links.fix("inside a group of a convolution", weight, 1)
    for tensor in (inputs, node, weight):
        if len(shape_of(tensor)) > 2:
            links.fix("a convolution moves along it", tensor, *range(2, len(shape_of(tensor))))


def _batch_norm(node: Node, links: Links) -> None:
    links.unify((node, 1), *((each, 0) for each in inputs_of(node)[1:]))
    _same(node, links)


def _same(node: Node, links: Links) -> None:
    inputs = inputs_of(node)[0]
    for axis in range(len(shape_of(node))):
        links.unify((inputs, axis), (node, axis))


def _per_channel_weight(node: Node, links: Links) -> None:
    """Link all axes; a weight has one entry for each channel, or one for all."""
    _same(node, links)
    weight = inputs_of(node)[1]
    if shape_of(weight)[0] > 1:
        links.unify((node, 1), (weight, 0))


def _pool(node: Node, links: Links) -> None:
    (inputs,) = inputs_of(node)
    if len(shape_of(node)) != (3 if name_of(node).endswith("1d") else 4):  # one image without a batch
        return _unknown(node, links)
    for axis in range(2):
        links.unify((inputs, axis), (node, axis))
    for tensor in (inputs, node):
        links.fix("pooled over", tensor, *range(2, len(shape_of(tensor))))


def _reduce(node: Node, links: Links) -> None:
    """Fix the axes that a mean or a softmax runs over; link the others, in their order."""
    (inputs,) = inputs_of(node)
    n_axes, given = len(shape_of(inputs)), argument(node)
    if given is None:
        return _unknown(node, links)
    over = {axis % n_axes for axis in ([given] if isinstance(given, int) else given)}
    links.fix(f"the operator {name_of(node)!r} runs over it", inputs, *over)
    is_same = len(shape_of(node)) == n_axes
    left = [axis for axis in range(n_axes) if axis not in over]
    for position, axis in enumerate(left):
        links.unify((inputs, axis), (node, axis if is_same else position))


def _layer_norm(node: Node, links: Links) -> None:
    """Link all axes, and record that the last one is normalised over, with its weight; if several are, fix them."""
    _same(node, links)
    last = len(shape_of(node)) - 1
    if len(argument(node)) > 1:
        return links.fix("normalised together with other axes", node, *range(last + 1 - len(argument(node)), last + 1))
    links.normalise(node, last)
    for vector in inputs_of(node)[1:]:
        links.unify((vector, 0), (node, last))


def _group_norm(node: Node, links: Links) -> None:
    _same(node, links)
    if argument(node) > 1:
        return links.fix("normalised in groups", node, 1)
    links.normalise(node, 1)
    for vector in inputs_of(node)[1:]:
        links.unify((vector, 0), (node, 1))


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
    **dict.fromkeys(("upsample_nearest1d", "upsample_linear1d", "upsample_nearest2d", "upsample_bilinear2d"), _pool),
    **dict.fromkeys(("mean", "sum", "amax", "softmax"), _reduce),
    **dict.fromkeys(("view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze"), reshape),
    **dict.fromkeys(("permute", "transpose"), permute),
    **dict.fromkeys(("conv1d", "conv2d"), _convolution),
    **dict.fromkeys(("chunk", "split", "split_with_sizes", "_assert_tensor_metadata"), nothing),
    **dict.fromkeys(("select", "slice"), select),
    "linear": _linear,
    "addmm": _addmm,
    "embedding": _embedding,
    "batch_norm": _batch_norm,
    "prelu": _per_channel_weight,
    "layer_norm": _layer_norm,
    "rms_norm": _layer_norm,
    "group_norm": _group_norm,
    "cat": concatenate,
    "getitem": item,
    "glu": gate,
    "pad": pad,
}
