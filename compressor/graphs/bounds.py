"""Bounds of an ONNX file: on the ids of each input, by the rows of the table they look up, and on the text length."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from compressor.bench.inputs import is_mask, is_segment
from compressor.bench.result import InputFacts
from compressor.graphs import shapes
from compressor.graphs.shapes import Step, Value

PASSING = {  # the inputs whose entries an operation returns unchanged
    "Cast": (0,),
    "Concat": None,  # all of them
    "Expand": (0,),
    "Flatten": (0,),
    "Gather": (0,),
    "GatherElements": (0,),
    "GatherND": (0,),
    "Identity": (0,),
    "Pad": (0,),
    "Reshape": (0,),
    "ScatterElements": (0, 2),
    "ScatterND": (0, 2),
    "Slice": (0,),
    "Split": (0,),
    "Squeeze": (0,),
    "Tile": (0,),
    "Transpose": (0,),
    "Unsqueeze": (0,),
    "Where": (1, 2),
}
PLAIN_ID = 9  # in common vocabularies it neither pads nor ends a text, which would change positions


@dataclass
class Reads:
    """The parts of its constants that a graph reads at one length."""

    highest: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By the output of a lookup: rows of the table, and the largest index."""
    cuts: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    """By the name of a slice of a constant: its shape, and that of the constant."""
    misfits: set[str] = field(default_factory=set)
    """Names of values that cannot be computed, because the inputs of their operation do not fit together."""


def input_facts(*files: Path) -> dict[str, InputFacts]:
    """Find the bound on the ids of each input: all must be smaller than it.

    Parameters
    ----------
    *files : Path
        ONNX files of any origin; for several, the smallest bound of each input.

    Returns
    -------
    dict from input name to dict
        ``below``: the rows of the smallest table that is looked up with the unchanged ids, whether its numbers are
        floating-point or quantized. An input that looks up no table is left out.

    Raises
    ------
    InputError
        If a file is damaged, or its weights are missing.
    """
    bounds: dict[str, InputFacts] = {}
    for file in files:
        for name, n_rows in _rows(shapes.skeleton(file)).items():
            bounds[name] = {"below": min(n_rows, bounds.get(name, {}).get("below", n_rows))}
    return bounds


def max_length(*files: Path) -> int | None:
    """Find the longest text that every file can read; None if nothing bounds it.

    It is the length beyond which a table of positions has no row, or a mask or a list of positions in the file has no
    entry: the graph is walked through at lengths 2 and 3, to find the constants of which more is read as the text
    grows, then at one token more than they allow, to see whether it fails.

    Raises
    ------
    InputError
        If a file is damaged, or its weights are missing.
    """
    return min((longest for file in files if (longest := _max_length(shapes.skeleton(file)))), default=None)


def _rows(proto: onnx.ModelProto) -> dict[str, int]:
    """Map each input that looks up tables to the rows of the smallest one."""
    inputs = shapes.at(proto, 1, 2)
    origins = {name: {name} for name in inputs}  # for each value, the inputs whose entries it contains
    n_rows_of: dict[str, int] = {}
    for step in shapes.walk(proto, inputs):
        read = [origins.get(name, set()) for name in step.node.input]
        n_rows = _n_rows(step)
        if n_rows is not None:
            n_rows_of |= {name: min(n_rows, n_rows_of.get(name, n_rows)) for name in read[1]}
        passing = PASSING.get(step.node.op_type, ())
        kept = read if passing is None else [read[index] for index in passing if index < len(read)]
        origins |= dict.fromkeys(step.node.output, set().union(*kept))
    return n_rows_of


def _max_length(proto: onnx.ModelProto) -> int | None:
    if not shapes.axes(proto).has_free_length({}):
        return None
    rows = _rows(proto)
    two, three = _reads(proto, rows, 2), _reads(proto, rows, 3)
    for length in sorted({*_ends_of_lookups(two, three), *_ends_of_cuts(two, three)}):
        beyond = _reads(proto, rows, length + 1)
        if beyond.misfits - two.misfits or any(index >= n_rows for n_rows, index in beyond.highest.values()):
            return length
    return None


def _ends_of_lookups(two: Reads, three: Reads) -> Iterator[int]:
    """Yield the length at which the last row of a table is read, for tables read one row further per token."""
    for name, (n_rows, index) in two.highest.items():
        if three.highest.get(name) == (n_rows, index + 1):
            yield n_rows - index + 1


def _ends_of_cuts(two: Reads, three: Reads) -> Iterator[int]:
    """Yield the length at which a slice takes the whole constant, for slices as long as the text."""
    for name, (part, whole) in two.cuts.items():
        longer, _ = three.cuts.get(name, (part, whole))
        yield from (size for size, *sizes in zip(whole, part, longer, strict=True) if sizes == [2, 3])


def _reads(proto: onnx.ModelProto, rows: Mapping[str, int], length: int) -> Reads:
    """Walk through the graph with a text of plain tokens, and record the parts of its constants that it reads."""
    inputs = {name: _filled(name, value, rows) for name, value in shapes.at(proto, 1, length).items()}
    reads = Reads()
    for step in shapes.walk(proto, inputs):
        name, n_rows = next(iter(step.node.output), ""), _n_rows(step)
        if step.complaint:
            reads.misfits.add(name)
        elif n_rows is not None and (indices := step.read(1).array) is not None and indices.size:
            reads.highest[name] = n_rows, int(indices.max())
        elif step.node.op_type == "Slice" and step.read(0).is_constant:
            part, whole = step.made.shape, step.read(0).shape
            reads.cuts |= {name: (part, whole)} if part and whole else {}
    return reads


def _filled(name: str, value: Value, rows: Mapping[str, int]) -> Value:
    """Fill an input of whole numbers as the bench would: a mask of ones, one segment, a plain token everywhere."""
    dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type) if value.type else np.dtype(float)
    if value.shape is None or dtype.kind not in "iub":
        return value
    id_ = min(PLAIN_ID, rows.get(name, PLAIN_ID + 1) - 1)
    number = 1 if is_mask(name) else 0 if is_segment(name) else id_
    return replace(value, array=np.full(value.shape, number, dtype))


def _n_rows(step: Step) -> int | None:
    """Return the number of rows of the table that an operation looks up; None if it looks up no constant."""
    if step.node.op_type != "Gather" or not step.read(0).is_constant or step.complaint:
        return None
    table = step.read(0).shape
    return table[step.setting("axis", 0)] if table else None
