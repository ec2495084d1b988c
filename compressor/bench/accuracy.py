"""How often a file answers as the labels of its inputs say."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from . import sessions
from .errors import InputError
from .inputs import Inputs


def accuracy(file: Path, inputs: Inputs) -> float:
    """Run a file on every example, one at a time, and give the fraction that it classifies as labelled.

    Parameters
    ----------
    file : Path
        ONNX file. The first of its outputs with two axes holds the scores, shape (1, n_classes).
    inputs : Inputs
        Examples of an inputs file, with ``labels``, shape (n,): whole numbers from 0.

    Returns
    -------
    float in [0, 1]

    Raises
    ------
    InputError
        If the labels are no class indices, or no output holds scores.
    """
    labels = inputs.labels
    if labels is None or not len(labels) or labels.ndim != 1 or labels.dtype.kind not in "iu":
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
    return float(np.mean([_best(answer) for answer in scores] == labels))


def _best(scores: np.ndarray) -> int:
    """Give the class with the highest score; none if a score is not a number."""
    return -1 if np.isnan(scores).any() else int(scores.argmax())


def _scores(outputs: Mapping[str, object], file: Path) -> np.ndarray:
    """Take the scores of one example, shape (n_classes,)."""
    for value in outputs.values():
        if isinstance(value, np.ndarray) and value.ndim == 2 and value.dtype.kind == "f":
            scores: np.ndarray = value[0]
            return scores
    raise InputError(f"{file}: no output holds scores of shape (examples, classes); leave 'labels' out of the inputs")
