"""What ONNX files are fed with: arrays of a file, or random ones that fit what a model declares."""

import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from .arrays import read_arrays
from .axes import Axes, Declared, open_axes
from .errors import InputError
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
MOST_NUMBERS = 1 << 27  # of one input: half a gigabyte of float32, more than any inference reads
SAFE_ID = 10  # token ids stay below it unless the plan knows the vocabulary: any tokenizer has as many
SEGMENTS = ("token_type_ids", "segment_ids", "input_type_ids")
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
    """Examples by input name; a scalar has no axes."""
    labels: np.ndarray | None = None
    """Right classes of the examples, shape (n,)."""

    def at(self, session: ort.InferenceSession, batch_size: int, length: int | None) -> dict[str, np.ndarray]:
        """Give one array per input: the first examples of the file, cut to the length, or random numbers."""
        axes = axes_of(session)
        if misfit := axes.misfit(batch_size):
            raise InputError(f"inputs {', '.join(each.name for each in axes.declared)}: {misfit}")
        if self.place:
            self._check(session, axes)
        sizes = axes.sizes(batch_size, length, self.facts, {name: array.shape for name, array in self.arrays.items()})
        made = {}
        for each, declared in zip(axes.declared, session.get_inputs(), strict=True):
            shape = [size for size in sizes[each.name] if size is not None]
            if len(shape) < len(each.shape):
                raise InputError(open_axes(each, sizes[each.name]))
            if math.prod(shape) > MOST_NUMBERS:
                raise InputError(f"input {each.name!r}: {shape} are more than {MOST_NUMBERS:,} numbers; ask for fewer")
            made[each.name] = self._taken(axes, each, shape) if self.place else self._drawn(declared, shape)
        return made

    def examples(self, session: ort.InferenceSession) -> Iterator[dict[str, np.ndarray]]:
        """Give every example of the file, one at a time, as long as it is there; states are the same for all."""
        axes = axes_of(session)
        self._check(session, axes)
        counted = [(self._array(each), axes.batch_axis(each)) for each in axes.declared]
        counts = [array.shape[axis] for array, axis in counted if axis is not None]
        names = [each.name for each in axes.declared]
        for index in range(min(counts, default=1)):
            one = [array if axis is None else array.take([index], axis) for array, axis in counted]
            yield dict(zip(names, one, strict=True))

    def _array(self, each: Declared) -> np.ndarray:
        """Give the array of an input; one number may stand for a scalar."""
        array = self.arrays[each.name]
        return array if each.shape or array.size != 1 else array.reshape([])

    def _check(self, session: ort.InferenceSession, axes: Axes) -> None:
        """Refuse arrays that are missing, of another type, or hold another number of examples than others."""
        counts = {} if self.labels is None or not self.labels.ndim else {LABELS: len(self.labels)}
        for each, declared in zip(axes.declared, session.get_inputs(), strict=True):
            if each.name not in self.arrays:
                has = ", ".join(self.arrays)
                raise InputError(f"{self.place}: no array {each.name!r}, which the model takes; it has {has}")
            array = self._array(each)
            if array.dtype != _dtype(declared) or array.ndim != len(each.shape):
                wanted = f"{_dtype(declared).name} of {len(each.shape)} axes"
                raise InputError(f"{self.place}: {each.name!r} should be {wanted}, got {array.dtype} of {array.ndim}")
            axis = axes.batch_axis(each)
            counts |= {each.name: array.shape[axis]} if axis is not None else {}
        if len(set(counts.values())) > 1:
            raise InputError(f"{self.place}: every array should have as many examples, got {counts}")

    def _taken(self, axes: Axes, each: Declared, shape: list[int]) -> np.ndarray:
        """Cut the first examples out of an array, and texts to their length; all else has to be of the right size."""
        array = self._array(each)
        is_text = each.is_whole and len(shape) == 2
        cut = [axis == axes.batch_axis(each) or is_text or axes.is_length(each, axis) for axis in range(len(shape))]
        if any(has != asked and not may for has, asked, may in zip(array.shape, shape, cut, strict=True)):
            raise InputError(f"{self.place}: {each.name!r} has the shape {list(array.shape)}, the model takes {shape}")
        if any(has < asked for has, asked in zip(array.shape, shape, strict=True)):
            raise InputError(f"{self.place}: {each.name!r} has the shape {list(array.shape)}, too small for {shape}")
        return np.ascontiguousarray(array[tuple(slice(size) for size in shape)]).reshape(shape)

    def _drawn(self, declared: ort.NodeArg, shape: list[int]) -> np.ndarray:
        """Draw numbers that every model accepts: masks of ones, one segment, ids within the vocabulary."""
        dtype = _dtype(declared)
        if is_mask(declared.name) or dtype == np.bool_:
            return np.ones(shape, dtype)
        if is_segment(declared.name):
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
    return Inputs(inputs, seed, str(inputs_file), arrays, labels)


def axes_of(session: ort.InferenceSession) -> Axes:
    """Give the axes of the inputs that a session takes."""
    return Axes(
        tuple(
            Declared(each.name, tuple(each.shape), "int" in each.type or "bool" in each.type)
            for each in session.get_inputs()
        )
    )


def is_mask(name: str) -> bool:
    """Tell whether an input is a mask by its name; TensorFlow adds a number, as in `input_mask:0`."""
    return name.partition(":")[0].endswith("mask")


def is_segment(name: str) -> bool:
    """Tell whether an input numbers the sentences of a pair."""
    return name.partition(":")[0] in SEGMENTS


def _dtype(declared: ort.NodeArg) -> np.dtype[Any]:
    if declared.type not in DTYPES:
        raise InputError(f"input {declared.name!r}: no way to make numbers of type {declared.type}")
    return np.dtype(DTYPES[declared.type])
