"""Open ONNX files in onnxruntime, and make inputs that fit what a file declares."""

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from .errors import InputError, PlanError

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
FATAL_ONLY = 4  # log level of onnxruntime: it also raises what it would log as an error


def open_session(file: Path, n_threads: int) -> ort.InferenceSession:
    """Open a file on the CPU; waiting threads sleep, because spinning burns energy and gains no latency."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = n_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = FATAL_ONLY
    if n_threads > 1:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's classes share no base below Exception
        raise InputError(f"{file}: onnxruntime cannot open it: {_first_line(error)}") from error


def has_free_length(session: ort.InferenceSession) -> bool:
    """Tell whether inputs have a sequence axis of free length: a second axis beside the batch, ids or masks."""
    return any(len(each.shape) == 2 and not isinstance(each.shape[1], int) for each in session.get_inputs())


def random_inputs(
    session: ort.InferenceSession,
    batch_size: int,
    length: int | None,
    facts: Mapping[str, Mapping[str, Any]],
    seed: int,
) -> dict[str, np.ndarray]:
    """Make one valid input per name; the same name, shape and seed give the same numbers for every file."""
    made = {}
    for declared in session.get_inputs():
        fact = facts.get(declared.name, {})
        shape = _shape(declared, batch_size, length, fact)
        rng = np.random.default_rng([seed, zlib.crc32(declared.name.encode())])
        made[declared.name] = _values(declared, shape, fact.get("below", SAFE_ID), rng)
    return made


def run_once(session: ort.InferenceSession, inputs: Mapping[str, np.ndarray], file: Path) -> dict[str, Any]:
    """Run the first inference, where inputs that do not fit are found, and give the outputs by name."""
    try:
        outputs = session.run(None, dict(inputs))
    except Exception as error:  # as above
        shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in inputs.items())
        raise InputError(f"{file}: onnxruntime cannot run it with {shapes}: {_first_line(error)}") from error
    return dict(zip((each.name for each in session.get_outputs()), outputs, strict=True))


def _shape(declared: ort.NodeArg, batch_size: int, length: int | None, fact: Mapping[str, Any]) -> list[int]:
    """Fill the free axes: the batch first, then the length, the rest from the plan."""
    shape = list(fact.get("shape", declared.shape))
    if shape and not isinstance(shape[0], int):
        shape[0] = batch_size
    if len(shape) == 2 and not isinstance(shape[1], int):
        shape[1] = length
    if shape and shape[0] != batch_size:
        raise InputError(f"input {declared.name!r}: its batch is fixed at {shape[0]}, asked for {batch_size}")
    if not all(isinstance(size, int) for size in shape):
        raise PlanError(f"input {declared.name!r}: the file leaves {shape} open; give its 'shape' under 'inputs'")
    return shape


def _values(declared: ort.NodeArg, shape: list[int], below: int, rng: np.random.Generator) -> np.ndarray:
    """Draw numbers that every model accepts: masks of ones, one segment, ids within the vocabulary."""
    if declared.type not in DTYPES:
        raise InputError(f"input {declared.name!r}: no way to make numbers of type {declared.type}")
    dtype = DTYPES[declared.type]
    if declared.name.endswith("mask") or dtype is np.bool_:
        return np.ones(shape, dtype)
    if declared.name == "token_type_ids":
        return np.zeros(shape, dtype)
    if np.issubdtype(dtype, np.integer):
        return rng.integers(0, below, shape, dtype)
    return rng.standard_normal(shape).astype(dtype)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
