"""Quantize an ONNX file of any origin, without a run: what `compress quantize` does."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import onnxruntime

from compressor import quantizers
from compressor.bench.arrays import read_arrays
from compressor.bench.result import Precision
from compressor.errors import InputError, first_line
from compressor.files import replacing, write_json
from compressor.graphs.ranges import Feed
from compressor.model.quiet import quantizer_quiet
from compressor.plugins import names
from compressor.quantizing import fastest, work
from compressor.stages.quantize import POINTS, Options, work_of

LABELS = "labels"
FILE = "model.onnx"
Array = np.ndarray[Any, Any]


class Quantized(TypedDict):
    """What was written, and what is known of it."""

    file: str
    precision: Precision
    size_bytes: int
    source_size_bytes: int
    accuracy: float | None
    """Of the quantized file on the rows; None without labels."""
    source_accuracy: float | None
    max_abs_diff: float | None
    """Largest difference of an output from the float file's; None without rows."""
    float_layers: list[str]


def quantize(file: Path, folder: Path, inputs: Path | None, options: Options) -> Quantized:
    """Quantize a file into a folder.

    Parameters
    ----------
    file : Path
        A float ONNX file; its weights may lie beside it.
    folder : Path
        Gets ``model.onnx``, and ``sensitivity.json`` where a limit left layers in float.
    inputs : Path, optional
        An ``.npz`` file with an array for each input, one row an example, and ``labels``, if the accuracy is to be
        known. What an ``attention_mask`` marks as padding is left out.
    options : Options
        Those of the stage.

    Raises
    ------
    InputError
        If the file or the rows cannot be used.
    GateMissed
        If no choice of layers is within the limit; no file is written then.
    """
    rows, labels = _rows(inputs) if inputs is not None else ([], None)
    if labels is None and (options.max_accuracy_drop is not None or options.mode == "auto"):
        raise InputError(f"a limit and mode auto need labels; put an array {LABELS!r} into the file of --inputs")
    path = folder / FILE
    if path.exists() and path.samefile(file):
        raise InputError(f"{folder}: holds the file that is read; choose another --out")
    folder.mkdir(parents=True, exist_ok=True)
    score = partial(_judged, rows, labels)
    with replacing(path) as beside, quantizer_quiet():
        precision, left = _write(file, beside, options, rows, score, folder)
    before, after = _outputs(file, rows), _outputs(path, rows)
    return {
        "file": str(path),
        "precision": precision,
        "size_bytes": path.stat().st_size,
        "source_size_bytes": file.stat().st_size,
        "accuracy": _accuracy(after, labels),
        "source_accuracy": _accuracy(before, labels),
        "max_abs_diff": max((_gap(a, b) for a, b in zip(before, after, strict=True)), default=None),
        "float_layers": left,
    }


def _write(
    file: Path, path: Path, options: Options, rows: list[Feed], score: work.Score, folder: Path
) -> tuple[Precision, list[str]]:
    """Write the quantized file, and give its precision and the layers that stayed in float."""
    if options.mode == "auto":
        each = {mode: work_of(file, options.model_copy(update={"mode": mode}), rows) for mode in names(quantizers)}
        judge = fastest.Judge(file, score, options.max_accuracy_drop, POINTS, with_float=True)
        choice = judge.choose(each.items(), path)
        write_json(folder / fastest.FILE, choice)
        return choice["precision"], choice["candidates"][choice["chosen"]].get("float_layers", [])
    made = work_of(file, options, rows)
    if options.max_accuracy_drop is not None:
        found = made.within_limit_(path, score, options.max_accuracy_drop)
        if found is not None:
            write_json(folder / work.FILE, found)
    made.save(path)
    return made.precision, sorted(made.settings.left)


def _rows(file: Path) -> tuple[list[Feed], Array | None]:
    """Read the rows one by one, without their padding, and the labels."""
    arrays = read_arrays(file)
    labels = arrays.pop(LABELS, None)
    sizes = {len(array) if array.ndim else 0 for array in (*arrays.values(), *([] if labels is None else [labels]))}
    if len(sizes) != 1 or sizes == {0}:
        raise InputError(f"{file}: its arrays should have one row for each example, got {sorted(sizes)} rows")
    return [_without_padding(arrays, row) for row in range(sizes.pop())], labels


def _without_padding(arrays: Mapping[str, Array], row: int) -> Feed:
    one = {name: array[row : row + 1] for name, array in arrays.items()}
    mask = one.get("attention_mask")
    if mask is None or mask.ndim != 2:
        return one
    is_real = mask[0].astype(bool)
    return {name: array[:, is_real] if array.shape == mask.shape else array for name, array in one.items()}


def _outputs(file: Path, rows: list[Feed]) -> list[Array]:
    """First output for each row."""
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(file, settings, providers=["CPUExecutionProvider"])
        names = [each.name for each in session.get_inputs()]
        return [session.run(None, {name: row[name] for name in names})[0] for row in rows]
    except Exception as error:  # onnxruntime's exceptions share no base
        raise InputError(f"{file}: onnxruntime cannot run it on these rows ({first_line(error)})") from error


def _accuracy(outputs: list[Array], labels: Array | None) -> float | None:
    if labels is None:
        return None
    right = [bool((output.argmax(axis=-1) == label).all()) for output, label in zip(outputs, labels, strict=True)]
    return sum(right) / len(right)


def _judged(rows: list[Feed], labels: Array | None, file: Path) -> float:
    return _accuracy(_outputs(file, rows), labels) or 0.0


def _gap(first: Array, second: Array) -> float:
    return float(np.abs(first - second).max())
