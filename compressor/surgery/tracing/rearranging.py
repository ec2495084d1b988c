"""Rules for operators that rearrange entries: which entries of their inputs become which entries of their output."""

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

from torch.fx import Node

from compressor.surgery.tracing.links import Entries, Links
from compressor.surgery.tracing.nodes import argument, axis_argument, inputs_of, name_of, shape_of


def rows(entries: Entries, n_rows: int) -> Entries:
    """Arrange entries in rows."""
    return entries.reshape(n_rows, -1)


def permute(node: Node, links: Links) -> None:
    """Link axes in their new order."""
    (inputs,) = inputs_of(node)
    order = list(range(len(shape_of(inputs))))
    if name_of(node) == "permute":
        order = [axis % len(order) for axis in argument(node)]
    else:
        one, other = (axis % len(order) for axis in (argument(node, 1), argument(node, 2)))
        order[one], order[other] = order[other], order[one]
    for axis, source in enumerate(order):
        links.unify((inputs, source), (node, axis))


def reshape(node: Node, links: Links) -> None:
    """Link axes that stay, and axes that are flattened with the first of them; fix those that are split."""
    (inputs,) = inputs_of(node)
    for before, after in _regrouped(shape_of(inputs), shape_of(node)):
        if len(before) == len(after) == 1:
            links.unify((inputs, before[0]), (node, after[0]))
        elif len(after) == 1:
            first = links.entries(inputs, before[0])
            links.link(first[:, None], rows(links.entries(node, after[0]), len(first)))
            links.fix("flattened after another axis", inputs, *before[1:])
        else:
            for tensor, axes in ((inputs, before), (node, after)):
                links.fix("split by a reshape", tensor, *axes)


def _regrouped(before: Sequence[int], after: Sequence[int]) -> Iterator[tuple[list[int], list[int]]]:
    """Pair the shortest runs of axes that have the same number of entries; axes of size 1 are left out."""
    left, right = ([axis for axis, size in enumerate(shape) if size != 1] for shape in (before, after))
    while left or right:
        run = ([left.pop(0)], [right.pop(0)])
        while (n_left := prod(before[i] for i in run[0])) != (n_right := prod(after[i] for i in run[1])):
            if n_left < n_right:
                run[0].append(left.pop(0))
            else:
                run[1].append(right.pop(0))
        yield run


def concatenate(node: Node, links: Links) -> None:
    """Link each part with its section of the whole; torch skips parts without entries, whatever their shape."""
    given: Any = node.args[0]
    parts = [part for part in given if 0 not in shape_of(part)]
    axis, start = axis_argument(node, 1, len(shape_of(node))), 0
    for part in parts:
        for other in range(len(shape_of(node))):
            if other != axis:
                links.unify((part, other), (node, other))
        end = start + shape_of(part)[axis]
        links.link(links.entries(part, axis), links.entries(node, axis)[start:end])
        start = end


def item(node: Node, links: Links) -> None:
    """Link one of the pieces into which an operator split its input; the operator's own rule links nothing."""
    pieces: Any = node.args[0]
    if name_of(pieces) not in ("chunk", "split", "split_with_sizes"):
        return links.fix(f"no rule for the operator {name_of(pieces)!r}", node)
    inputs, n_axes = inputs_of(pieces)[0], len(shape_of(node))
    axis, n_pieces = axis_argument(pieces, 2, n_axes), len(pieces.meta["val"])
    for other in range(n_axes):
        if other != axis:
            links.unify((inputs, other), (node, other))
    if name_of(pieces) == "chunk" and shape_of(node)[axis] * n_pieces == shape_of(inputs)[axis]:
        links.link(links.entries(node, axis), rows(links.entries(inputs, axis), n_pieces))
    else:
        links.fix("split at a fixed place", node, axis)
        links.fix("split at a fixed place", inputs, axis)


def select(node: Node, links: Links) -> None:
    """Fix the axis from which an index or a slice takes entries; link the others."""
    (inputs,) = inputs_of(node)
    n_axes = len(shape_of(inputs))
    axis = axis_argument(node, 1, n_axes)
    is_whole = len(shape_of(node)) == n_axes and shape_of(node)[axis] == shape_of(inputs)[axis]
    if not is_whole:
        links.fix("taken from by index", inputs, axis)
    left = [other for other in range(n_axes) if other != axis or is_whole]
    is_same = len(shape_of(node)) == n_axes
    for position, other in enumerate(left):
        links.unify((inputs, other), (node, other if is_same else position))
    if is_same and not is_whole:
        links.fix("taken from by index", node, axis)


def gate(node: Node, links: Links) -> None:
    """Link both halves of an axis with the product of one and the sigmoid of the other."""
    (inputs,) = inputs_of(node)
    n_axes, given = len(shape_of(node)), argument(node)
    axis = (-1 if given is None else given) % n_axes
    for other in range(n_axes):
        if other != axis:
            links.unify((inputs, other), (node, other))
    links.link(links.entries(node, axis), rows(links.entries(inputs, axis), 2))


def nothing(node: Node, links: Links) -> None:
    """Link nothing: pieces are linked where they are taken, and an assertion has no output."""


def pad(node: Node, links: Links) -> None:
    """Fix the axes that grow; link the others."""
    (inputs,) = inputs_of(node)
    amounts: Any = argument(node)
    n_axes = len(shape_of(node))
    for axis in range(n_axes):
        place = 2 * (n_axes - 1 - axis)
        if not any(amounts[place : place + 2]):
            links.unify((inputs, axis), (node, axis))
        else:
            links.fix("padded", inputs, axis)
            links.fix("padded", node, axis)
