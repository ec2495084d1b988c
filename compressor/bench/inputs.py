"""What ONNX files are fed with: arrays of a file, or random ones that fit what a model declares."""

import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import onnxruntime as ort

from .errors import InputError, PlanError
from .result import InputFacts

DTYPES = {
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(bool)": np.bool_,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
}
SAFE_ID = 10  # token ids stay below it unless the plan knows the vocabulary: any tokenizer has as many
NO_ARRAYS = {FileNotFoundError: ": no such file", TypeError: ": it is one array; use np.savez(name=...)"}
LABELS = "labels"  # the array that is no input but the right classes


@dataclass(frozen=True)
class Inputs:
    """Inputs at any shape; the same for every file that declares the same."""

    facts: Mapping[str, InputFacts] = field(default_factory=dict)
    """By input name: `below`, the bound of random ids, and `shape`, where the file leaves more than two axes open."""
    seed: int = 0
    place: str = ""
    """File of the arrays; empty if inputs are random."""
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Examples by input name, the first axis counts them."""
    labels: np.ndarray | None = None
    """Right classes of the examples, shape (n,)."""

    def at(self, session: ort.InferenceSession, batch_size: int, length: int | None) -> dict[str, np.ndarray]:
        """Give one array per input: the first examples of the file, cut to the length, or random numbers."""
        made = {}
        for declared in session.get_inputs():
            shape = _shape(declared, batch_size, length, self.facts.get(declared.name, {}))
            made[declared.name] = self._taken(declared, shape) if self.place else self._drawn(declared, shape)
        return made

    def examples(self, session: ort.InferenceSession) -> Iterator[dict[str, np.ndarray]]:
        """Give every example of the file, one at a time, as long as it is there."""
        names = [declared.name for declared in session.get_inputs()]
        for declared in session.get_inputs():
            self._taken(declared, [])
        for index in range(min(len(self.arrays[name]) for name in names)):
            yield {name: self.arrays[name][index : index + 1] for name in names}

    def _taken(self, declared: ort.NodeArg, shape: list[int]) -> np.ndarray:
        """Cut the first examples out of an array; a shape of no axes takes all of it."""
        name, array = declared.name, self.arrays.get(declared.name)
        if array is None:
            raise InputError(f"{self.place}: no array {name!r}, which the model takes; it has {', '.join(self.arrays)}")
        if array.dtype != _dtype(declared) or array.ndim != len(declared.shape):
            wanted = f"{_dtype(declared).name} of {len(declared.shape)} axes"
            raise InputError(f"{self.place}: {name!r} should be {wanted}, got {array.dtype} of {array.ndim}")
        if shape and array.shape[2:] != tuple(shape[2:]):
            raise InputError(f"{self.place}: {name!r} has the shape {list(array.shape)}, the model takes {shape}")
        if any(has < asked for has, asked in zip(array.shape, shape, strict=False)):
            raise InputError(f"{self.place}: {name!r} has the shape {list(array.shape)}, too small for {shape}")
        return np.ascontiguousarray(array[tuple(slice(size) for size in shape)])

    def _drawn(self, declared: ort.NodeArg, shape: list[int]) -> np.ndarray:
        """Draw numbers that every model accepts: masks of ones, one segment, ids within the vocabulary."""
        dtype = _dtype(declared)
        if declared.name.endswith("mask") or dtype == np.bool_:
            return np.ones(shape, dtype)
        if declared.name == "token_type_ids":
            return np.zeros(shape, dtype)
        rng = np.random.default_rng([self.seed, zlib.crc32(declared.name.encode())])
        if np.issubdtype(dtype, np.integer):
            below = self.facts.get(declared.name, {}).get("below", SAFE_ID)
            return rng.integers(0, min(below, np.iinfo(dtype).max + 1), shape, dtype)
        return rng.standard_normal(shape).astype(dtype)


def read_inputs(inputs: Mapping[str, InputFacts], inputs_file: str | None, seed: int) -> Inputs:
    """Take the arrays of an `.npz` file, if one is given; nothing in it is ever unpickled."""
    if inputs_file is None:
        return Inputs(inputs, seed)
    arrays = read_arrays(Path(inputs_file))
    labels = arrays.pop(LABELS, None)
    counts = {name: len(array) for name, array in arrays.items()} | ({} if labels is None else {LABELS: len(labels)})
    if len(set(counts.values())) != 1:
        raise InputError(f"{inputs_file}: every array should have as many examples, got {counts}")
    return Inputs(inputs, seed, str(inputs_file), arrays, labels)


def read_arrays(file: Path) -> dict[str, np.ndarray]:
    """Read the arrays of an `.npz` file by name."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
    except (OSError, ValueError, EOFError, TypeError, BadZipFile, zlib.error) as error:  # a bare .npy is no context
        reason = NO_ARRAYS.get(type(error), "")
        if isinstance(error, ValueError) and "allow_pickle" in str(error):
            reason = ": it holds objects of Python; pad texts to one length"
        raise InputError(f"{file}: not a readable .npz file of arrays{reason}") from error
    if not arrays or any(array.ndim == 0 for array in arrays.values()):
        raise InputError(f"{file}: should hold one array for each input, with the examples along its first axis")
    return arrays


def own_lengths(file: Path, names: Collection[str]) -> list[int]:
    """Give the length of the sequences in a file, by the names of inputs; 1, which applies to nothing, without any."""
    arrays = (array for name, array in read_arrays(file).items() if name in names)
    sequences = [array for array in arrays if array.ndim == 2 and array.dtype.kind in "iu"]
    return sorted({array.shape[1] for array in sequences}) or [1]


def _dtype(declared: ort.NodeArg) -> np.dtype[Any]:
    if declared.type not in DTYPES:
        raise InputError(f"input {declared.name!r}: no way to make numbers of type {declared.type}")
    return np.dtype(DTYPES[declared.type])


def _shape(declared: ort.NodeArg, batch_size: int, length: int | None, fact: InputFacts) -> list[int]:
    """Fill the free axes: the batch first, then the length, the rest from the plan."""
    shape = list(fact.get("shape", declared.shape))
    if shape and not isinstance(shape[0], int):
        shape[0] = batch_size
    if len(shape) == 2 and not isinstance(shape[1], int):
        shape[1] = length
    if shape and shape[0] != batch_size:
        what = f"its batch is fixed at {shape[0]}, asked for {batch_size}; give --batch-size {shape[0]}"
        raise InputError(f"input {declared.name!r}: {what}")
    if not all(isinstance(size, int) for size in shape):
        raise PlanError(f"input {declared.name!r}: the file leaves {shape} open; give its 'shape' under 'inputs'")
    return shape
