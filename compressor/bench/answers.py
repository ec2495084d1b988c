"""Whether files answer here as they did on another machine."""

import math
from collections.abc import Mapping
from itertools import product
from pathlib import Path

import numpy as np

from . import sessions
from .inputs import Inputs, read_arrays, read_inputs
from .plan import Plan
from .shape import Shape


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
    """Largest difference between numbers; None if names or shapes differ, or a number is not finite."""
    if {name: value.shape for name, value in new.items()} != {name: value.shape for name, value in other.items()}:
        return None
    gaps = [np.abs(new[name] - other[name]).max(initial=0) for name in new]
    largest = float(np.max(gaps)) if gaps else math.nan  # unlike max(), it keeps what is not a number
    return largest if math.isfinite(largest) else None


def numbers(outputs: Mapping[str, object]) -> dict[str, np.ndarray]:
    """Leave out texts and maps, which some classifiers of other makers give beside their numbers."""
    arrays = {name: value for name, value in outputs.items() if isinstance(value, np.ndarray)}
    return {name: value.astype(np.float64) for name, value in arrays.items() if value.dtype.kind in "bfiu"}


def _outputs(file: Path, plan: Plan, inputs: Inputs) -> dict[str, dict[str, object]]:
    session = sessions.open_session(file, min(plan.threads))
    lengths = plan.lengths if sessions.has_free_length(session) else [None]
    return {
        Shape(batch_size, length).name: sessions.run_once(session, inputs.at(session, batch_size, length), file)
        for batch_size, length in product(plan.batch_sizes, lengths)
    }
