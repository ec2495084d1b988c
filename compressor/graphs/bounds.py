"""What an ONNX file bounds: the ids of each input, by the rows of the table they look up, and the length of a text."""

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

PASSING = {  # which inputs of an operation come out of it as they are, entry by entry
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
    """What a graph takes of its constants at one length."""

    highest: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By the name of what a lookup gives: rows of the table, and the largest index."""
    cuts: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    """By the name of a part that is cut out of a constant: its shape, and that of the constant."""
    misfits: set[str] = field(default_factory=set)
    """Names of what cannot be computed, as what it is computed of does not fit together."""


def input_facts(*files: Path) -> dict[str, InputFacts]:
    """Find for each input of ids the number that all of them lie below.

    Parameters
    ----------
    *files : Path
        ONNX files of any origin; of several, each bound is the smallest.

    Returns
    -------
    dict from input name to dict
        ``below``: the rows of the smallest table that is looked up with the ids as they are, whether its numbers are
        floating-point or quantized. An input that looks up none is left out.

    Raises
    ------
    InputError
        If a file is damaged, or its weights are missing.
    """
    found: dict[str, InputFacts] = {}
    for file in files:
        for name, n_rows in _rows(shapes.skeleton(file)).items():
            found[name] = {"below": min(n_rows, found.get(name, {}).get("below", n_rows))}
    return found


def max_length(*files: Path) -> int | None:
    """Find the longest text that every file can read; None if nothing bounds it.

    It is the length beyond which a table of positions has no row, or a mask or a list of positions that the file holds
    no entry: the graph is walked through at lengths 2 and 3, to see what grows with the length, then one beyond what
    that can hold, to see whether it fails.

    Raises
    ------
    InputError
        If a file is damaged, or its weights are missing.
    """
    return min((found for file in files if (found := _max_length(shapes.skeleton(file)))), default=None)


def _rows(proto: onnx.ModelProto) -> dict[str, int]:
    """Map each input that looks up a table to the rows of the smallest."""
    inputs = shapes.at(proto, 1, 2)
    origins = {name: {name} for name in inputs}  # of each value: the inputs whose entries it holds
    found: dict[str, int] = {}
    for step in shapes.walk(proto, inputs):
        read = [origins.get(name, set()) for name in step.node.input]
        n_rows = _n_rows(step)
        if n_rows is not None:
            found |= {name: min(n_rows, found.get(name, n_rows)) for name in read[1]}
        passing = PASSING.get(step.node.op_type, ())
        kept = read if passing is None else [read[index] for index in passing if index < len(read)]
        origins |= dict.fromkeys(step.node.output, set().union(*kept))
    return found


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
    """Yield the length at which the last row is read of each table that is read one row further at one token more."""
    for name, (n_rows, index) in two.highest.items():
        if three.highest.get(name) == (n_rows, index + 1):
            yield n_rows - index + 1


def _ends_of_cuts(two: Reads, three: Reads) -> Iterator[int]:
    """Yield the length at which all is taken of each constant of which as much is taken as there are tokens."""
    for name, (part, whole) in two.cuts.items():
        longer, _ = three.cuts.get(name, (part, whole))
        yield from (size for size, *sizes in zip(whole, part, longer, strict=True) if sizes == [2, 3])


def _reads(proto: onnx.ModelProto, rows: Mapping[str, int], length: int) -> Reads:
    """Walk through the graph with a text of plain tokens, and note what it takes of its constants."""
    inputs = {name: _filled(name, value, rows) for name, value in shapes.at(proto, 1, length).items()}
    found = Reads()
    for step in shapes.walk(proto, inputs):
        name, n_rows = next(iter(step.node.output), ""), _n_rows(step)
        if step.complaint:
            found.misfits.add(name)
        elif n_rows is not None and (indices := step.read(1).array) is not None and indices.size:
            found.highest[name] = n_rows, int(indices.max())
        elif step.node.op_type == "Slice" and step.read(0).is_constant:
            part, whole = step.made.shape, step.read(0).shape
            found.cuts |= {name: (part, whole)} if part and whole else {}
    return found


def _filled(name: str, value: Value, rows: Mapping[str, int]) -> Value:
    """Fill an input of whole numbers as the bench would: a mask of ones, one segment, a plain token everywhere."""
    dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type) if value.type else np.dtype(float)
    if value.shape is None or dtype.kind not in "iub":
        return value
    id_ = min(PLAIN_ID, rows.get(name, PLAIN_ID + 1) - 1)
    number = 1 if is_mask(name) else 0 if is_segment(name) else id_
    return replace(value, array=np.full(value.shape, number, dtype))


def _n_rows(step: Step) -> int | None:
    """Return how many rows the table has that an operation looks up; None if it looks up none, or no constant."""
    if step.node.op_type != "Gather" or not step.read(0).is_constant or step.complaint:
        return None
    table = step.read(0).shape
    return table[step.setting("axis", 0)] if table else None
