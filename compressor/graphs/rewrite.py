"""Rewrites of an exported graph that keep its outputs and leave onnxruntime less to compute."""

import numpy as np
from onnxscript import ir
from onnxscript.ir.passes.common import ClearMetadataAndDocStringPass, RemoveUnusedNodesPass

_HEADS = (0, 2, 1, 3)  # transposes (batch, length, head, entry) to (batch, head, length, entry), and back
_ELEMENTWISE = {"Add", "Sub", "Mul", "Div", "Pow", "Erf", "Gelu", "Relu", "Sigmoid", "Tanh"}


def rewrite_(model: ir.Model) -> None:
    """Apply every rewrite, and drop the metadata that torch wrote at each node: it contains paths of this machine."""
    for node in model.graph:
        if node.op_type == "Attention":
            _join_heads_(node)
        if node.op_type == "Reshape":
            _write_shape_(model.graph, node)
    RemoveUnusedNodesPass()(model)
    _drop_unread_rows_(model.graph)
    for node in model.graph:
        if node.op_type == "LayerNormalization":
            _keep_sum_apart_(node)
    ClearMetadataAndDocStringPass()(model)


def _join_heads_(attention: ir.Node) -> None:
    """Pass Attention its heads side by side, (batch, length, heads x entries), as the layers around it have them.

    It strides over heads by itself, so the four transposes around it can be removed.
    """
    joined = [_input_of(_input_of(split, "Transpose"), "Reshape") for split in attention.inputs[:3]]
    merged = _output_of(_output_of(attention.outputs[0], "Transpose"), "Reshape")
    n_heads = [number for split in attention.inputs[:2] if (number := _n_heads(split))]
    if merged is None or {_rank(value) for value in (*joined, merged)} != {3} or len(n_heads) != 2:
        return
    for index, value in enumerate(joined):
        attention.replace_input_with(index, value)
    for name, number in zip(("q_num_heads", "kv_num_heads"), n_heads, strict=True):
        attention.attributes.add(ir.AttrInt64(name, number))
    attention.outputs[0].shape = merged.shape
    merged.replace_all_uses_with(attention.outputs[0])


def _write_shape_(graph: ir.Graph, reshape: ir.Node) -> None:
    """Give a reshape its sizes as a constant, in place of nodes that compute them.

    Free axes mostly stay in their place: 0 takes the size of the same axis of the input, and -1, once, what is left.
    """
    data, shape = reshape.inputs[:2]
    target = reshape.outputs[0].shape
    if data is None or shape is None or shape.const_value is not None or data.shape is None or target is None:
        return
    sizes = [_size(at, axis, data.shape) for at, axis in enumerate(target)]
    if sizes.count(-1) > 1 or 0 in list(target):
        return
    reshape.attributes.pop("allowzero", None)
    name = f"{reshape.outputs[0].name}_shape"
    constant = ir.Value(name=name, const_value=ir.tensor(np.array(sizes, np.int64), name=name))
    graph.register_initializer(constant)
    reshape.replace_input_with(1, constant)


def _size(at: int, axis: int | ir.SymbolicDim, before: ir.Shape) -> int:
    if isinstance(axis, int):
        return axis
    return 0 if at < len(before) and before[at] == axis else -1


def _n_heads(split: ir.Value | None) -> int | None:
    """Return the second dimension, if it is known."""
    number = None if split is None or split.shape is None else split.shape[1]
    return number if isinstance(number, int) else None


def _input_of(value: ir.Value | None, op_type: str) -> ir.Value | None:
    """Return the input of the node that made the value, if it is of this kind; None if it is not."""
    node = None if value is None else value.producer()
    return node.inputs[0] if node is not None and _is(node, op_type) else None


def _output_of(value: ir.Value | None, op_type: str) -> ir.Value | None:
    """Return the output of the only reader of the value, a node of this kind; None if there are other readers."""
    readers = () if value is None else value.consumers()
    return readers[0].outputs[0] if len(readers) == 1 and _is(readers[0], op_type) else None


def _is(node: ir.Node, op_type: str) -> bool:
    return node.op_type == op_type and (op_type != "Transpose" or node.attributes.get_ints("perm") == _HEADS)


def _drop_unread_rows_(graph: ir.Graph) -> None:
    """If only the first row of a sequence is read, as by classifiers, compute only that row.

    Rows are combined only in attention, as keys and values. So the last layer needs one row of queries, and one row of
    everything that follows from them.
    """
    short = _nodes_read_at_first_row(graph)
    if not short:
        return
    zero = ir.Value(name="first_row", const_value=ir.tensor(np.zeros(1, np.int64), name="first_row"))
    graph.register_initializer(zero)
    for node in short:
        for index, axis in _rows(node).items():
            value = node.inputs[index]
            if value is not None and value.producer() not in short:
                first = ir.node("Gather", [value, zero], {"axis": axis})
                graph.insert_before(node, first)
                node.replace_input_with(index, first.outputs[0])
    for node in short:
        output = node.outputs[0]
        output.shape = ir.Shape([1 if axis == 1 else size for axis, size in enumerate(output.shape or ())])


def _nodes_read_at_first_row(graph: ir.Graph) -> list[ir.Node]:
    """List the nodes whose readers all take only row 0, directly or through other such nodes."""
    short: list[ir.Node] = []
    for node in reversed(graph):
        uses = [use for output in node.outputs for use in output.uses()]
        is_read_short = all(_takes_first_row(user) or (user in short and i in _rows(user)) for user, i in uses)
        if uses and is_read_short and _rows(node):
            short.append(node)
    return short


def _takes_first_row(node: ir.Node) -> bool:
    """Whether the node reads `x[:, 0]`."""
    if node.op_type != "Gather" or node.attributes.get_int("axis", 0) != 1:
        return False
    index = None if node.inputs[1] is None else ir.convenience.get_const_tensor(node.inputs[1])
    return index is not None and len(index.shape) == 0 and index.numpy() == 0


def _rows(node: ir.Node) -> dict[int, int]:
    """Map each input from which row i of the output needs only row i to the axis of its rows."""
    ranks = [_rank(value) for value in node.inputs]
    if node.op_type in _ELEMENTWISE and set(ranks) <= {0, 1, 3}:
        return {index: 1 for index, rank in enumerate(ranks) if rank == 3}
    if node.op_type == "MatMul" and ranks == [3, 2]:
        return {0: 1}
    if node.op_type == "LayerNormalization" and ranks[0] == 3 and node.attributes.get_int("axis", -1) in (-1, 2):
        return {0: 1}
    if node.op_type == "Attention" and ranks[0] == 3 and ranks[3:] in ([], [4]):  # queries; the mask is by query too
        return {0: 1, 3: 2} if ranks[3:] else {0: 1}
    return {}


def _rank(value: ir.Value | None) -> int | None:
    return None if value is None or value.shape is None else len(value.shape)


def _keep_sum_apart_(normalization: ir.Node) -> None:
    """Replace the Add before a LayerNormalization by Sum, which onnxruntime does not fuse with it.

    The kernel of the fused pair, SkipLayerNormalization, adds up one entry after the other: in onnxruntime 1.31 it
    takes four to six times as long as the two separately.
    """
    value = normalization.inputs[0]
    add = None if value is None else value.producer()
    if add is not None and add.op_type == "Add":
        add.op_type = "Sum"
