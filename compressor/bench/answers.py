"""Whether files answer here as they did on another machine."""

import math
from collections.abc import Mapping
from itertools import product
from pathlib import Path

import numpy as np

from . import sessions
from .arrays import read_arrays
from .inputs import Inputs, axes_of, read_inputs
from .plan import Plan
from .shape import Shape

NUMBERS = "bfiu"  # kinds of numpy's types


def answers(plan: Plan) -> dict[str, np.ndarray]:
    """Run every file of a plan once at each size, and give the outputs by `place in the plan/size/output`."""
    inputs = read_inputs(**plan.fed)
    outputs_by_name: dict[str, np.ndarray] = {}
    for index, variant in enumerate(plan.variants):
        for size, outputs in _outputs(plan.path(variant), plan, inputs).items():
            outputs_by_name |= {f"{index}/{size}/{name}": value for name, value in numbers(outputs).items()}
    return outputs_by_name


def differences(plan: Plan) -> dict[str, float | None]:
    """Give for each file the largest difference between its outputs and those that the plan expects, over all sizes.

    None if the plan expects none, or if they cannot be compared.
    """
    if not plan.expected_file:
        return dict.fromkeys(variant["name"] for variant in plan.variants)
    ours, theirs = answers(plan), read_arrays(plan.folder / plan.expected_file)
    largest = {}
    for index, variant in enumerate(plan.variants):
        mine, expected = ({k: v for k, v in outputs.items() if k.startswith(f"{index}/")} for outputs in (ours, theirs))
        largest[variant["name"]] = largest_difference(mine, expected)
    return largest


def largest_difference(new: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> float | None:
    """Largest difference between numbers; None if names or shapes differ, or a number is NaN.

    The same infinity in both files is no difference: some networks mask what is not allowed with it.
    """
    if {name: value.shape for name, value in new.items()} != {name: value.shape for name, value in other.items()}:
        return None
    gaps = [np.abs(_gap(new[name], other[name])).max(initial=0) for name in new]
    largest = float(np.max(gaps)) if gaps else math.nan  # unlike max(), it keeps what is not a number
    return largest if math.isfinite(largest) else None


def numbers(outputs: Mapping[str, object]) -> dict[str, np.ndarray]:
    """Give the outputs that are numbers, and of maps of classes their probabilities; texts are left out."""
    arrays = {name: _array(value) for name, value in outputs.items()}
    return {name: value.astype(np.float64) for name, value in arrays.items() if value.dtype.kind in NUMBERS}


def nonfinite(outputs: Mapping[str, object]) -> list[str]:
    """Name the outputs that hold NaN or an infinity."""
    return [name for name, value in numbers(outputs).items() if not np.isfinite(value).all()]


def not_alike(new: Mapping[str, object], other: Mapping[str, object]) -> list[str]:
    """Name the outputs that only one of two files has, or whose type or shape differs."""
    ours, theirs = ({name: _form(value) for name, value in outputs.items()} for outputs in (new, other))
    return sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))


def _form(value: object) -> tuple[bool, str, tuple[int, ...]]:
    """Describe an output: a map or an array, floats, whole numbers or texts, and its shape."""
    array = _array(value)
    kind = "i" if array.dtype.kind in "iu" else array.dtype.kind
    return isinstance(value, np.ndarray), kind, array.shape


def _array(value: object) -> np.ndarray:
    """Make an array of an output; of one map for each example, their values, classes in order."""
    if isinstance(value, np.ndarray):
        return value
    maps = value if isinstance(value, list) and all(isinstance(each, dict) for each in value) else []
    if maps and all(each.keys() == maps[0].keys() for each in maps):
        return np.array([[each[key] for key in sorted(each)] for each in maps])
    return np.empty(len(value) if isinstance(value, list) else 1, object)


def _gap(new: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Subtract entry by entry; infinities that are equal have no difference."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(new == other, 0.0, new - other))


def _outputs(file: Path, plan: Plan, inputs: Inputs) -> dict[str, dict[str, object]]:
    session = sessions.open_session(file, min(plan.threads))
    lengths = plan.lengths if axes_of(session).has_free_length(plan.inputs) else [None]
    return {
        Shape(batch_size, length).name: sessions.run_once(session, inputs.at(session, batch_size, length), file)
        for batch_size, length in product(plan.batch_sizes, lengths)
    }
