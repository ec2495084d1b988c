"""Open ONNX files in onnxruntime, and run them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime as ort

from .errors import InputError

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


def run_once(session: ort.InferenceSession, inputs: Mapping[str, np.ndarray], file: Path) -> dict[str, object]:
    """Run the first inference, where inputs that do not fit are found, and give the outputs by name."""
    try:
        outputs = session.run(None, dict(inputs))
    except Exception as error:  # as above
        given = ", ".join(f"{name} {_shown(array)}" for name, array in inputs.items())
        what = f"onnxruntime cannot run it with {given}: {_first_line(error).rstrip(' .')}"
        raise InputError(f"{file}: {what}; give it others with --shape or --inputs FILE.npz") from error
    return dict(zip((declared.name for declared in session.get_outputs()), outputs, strict=True))


def _shown(array: np.ndarray) -> str:
    """Show the shape of an array, or its number if it has only one, such as a sampling rate."""
    return str(array.item()) if array.size == 1 else str(list(array.shape))


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
