"""How often a file answers as the labels of its inputs say."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import sessions
from .errors import InputError
from .inputs import Inputs


class Answered(NamedTuple):
    """How a file answered labelled examples."""

    accuracy: float | None
    """Fraction in [0, 1] that it classifies as labelled; None where a score is NaN, which has no best class."""
    n_nonfinite: int
    """Examples with a score that is NaN or infinite."""


def accuracy(file: Path, inputs: Inputs) -> Answered:
    """Run a file on every example, one at a time, and count how many it classifies as labelled.

    Parameters
    ----------
    file : Path
        ONNX file. The first of its outputs with two axes holds the scores, shape (1, n_classes).
    inputs : Inputs
        Examples of an inputs file, with ``labels``, shape (n,): whole numbers from 0.

    Returns
    -------
    Answered
        The accuracy, and how many examples have scores that are not finite.

    Raises
    ------
    InputError
        If the labels are no class indices, or no output holds scores.
    """
    labels = inputs.labels
    if labels is None or labels.ndim != 1 or not len(labels) or labels.dtype.kind not in "iu":
        found = "none" if labels is None else f"{labels.dtype} of shape {list(labels.shape)}"
        raise InputError(f"{inputs.place}: 'labels' should be one class index for each example, got {found}")
    session = sessions.open_session(file, 1)
    scores = [_scores(sessions.run_once(session, one, file), file) for one in inputs.examples(session)]
    n_classes = min(map(len, scores))
    if labels.min() < 0 or labels.max() >= n_classes:
        wrong = labels.min() if labels.min() < 0 else labels.max()
        raise InputError(
            f"{inputs.place}: 'labels' should be from 0 to {n_classes - 1}, as {file} answers, got {wrong}"
        )
    n_nonfinite = sum(not np.isfinite(answer).all() for answer in scores)
    if any(np.isnan(answer).any() for answer in scores):
        return Answered(None, n_nonfinite)
    return Answered(float(np.mean([answer.argmax() for answer in scores] == labels)), n_nonfinite)


def _scores(outputs: Mapping[str, object], file: Path) -> np.ndarray:
    """Take the scores of one example, shape (n_classes,)."""
    for value in outputs.values():
        if isinstance(value, np.ndarray) and value.ndim == 2 and value.dtype.kind == "f":
            scores: np.ndarray = value[0]
            return scores
    raise InputError(f"{file}: no output holds scores of shape (examples, classes); leave 'labels' out of the inputs")
