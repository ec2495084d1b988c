"""Match the labels of a dataset with the outputs of a network, by name or by index."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from compressor.errors import InputError, listed

TRUTH = ("False", "True")  # in the order of the numbers that they stand for


@dataclass(frozen=True)
class Labels:
    """The labels of a dataset."""

    names: tuple[str, ...]
    is_ordered: bool
    """Whether position k is class k, as in a ClassLabel or in plain integers from 0; words in a CSV have no order."""


def has_real_names(names: Sequence[str]) -> bool:
    """Whether labels are words, rather than integers or `LABEL_0`, `LABEL_1`."""
    return not all(re.fullmatch(r"(LABEL_)?-?\d+", name) for name in names)


def from_values(values: set[str]) -> Labels:
    """Labels of a column that holds plain integers, truth values or words."""
    if values <= set(TRUTH):
        return Labels(tuple(name for name in TRUTH if name in values), is_ordered=len(values) == len(TRUTH))
    if has_real_names(sorted(values)):
        return Labels(tuple(sorted(values)), is_ordered=False)
    by_index = sorted(values, key=_index)
    return Labels(tuple(by_index), is_ordered=[_index(name) for name in by_index] == list(range(len(by_index))))


def rename(labels: Labels, mapping: Mapping[str, str]) -> tuple[Labels, dict[str, str]]:
    """Apply the recipe's map; return the new labels, and the map from each label of the dataset."""
    spelled = _common_spelling(labels.names, tuple(mapping))
    if spelled is None:
        names, keys = listed(labels.names, most=12), listed(tuple(mapping), most=12)
        raise InputError(f"data.labels: must map each of the dataset's labels {names} once, got {keys}")
    targets = {spelled(name): target for name, target in mapping.items()}
    renamed = {name: targets[spelled(name)] for name in labels.names}
    given = tuple(dict.fromkeys(renamed.values()))
    return Labels(given, is_ordered=False) if has_real_names(given) else from_values(set(given)), renamed


def match(labels: Labels, outputs: Sequence[str]) -> dict[str, int]:
    """Index of the network's output for each label of the dataset.

    Labels are matched by name, ignoring case. If either side has no real names, they are matched by position, as long
    as the dataset declares positions. Anything else is refused: swapped labels would look like a bad model.
    """
    if (spelled := _common_spelling(labels.names, outputs)) is not None:
        places = {spelled(output): index for index, output in enumerate(outputs)}
        return {name: places[spelled(name)] for name in labels.names}
    both = f"the dataset has {listed(labels.names, most=12)}, the model {listed(outputs, most=12)}"
    if len(labels.names) != len(outputs):
        raise InputError(f"data: {len(labels.names)} labels for a head of {len(outputs)} outputs, {both}")
    if has_real_names(labels.names) and has_real_names(outputs):
        raise InputError(f"data: the names of the labels differ, {both}; map them with data.labels")
    if not labels.is_ordered:
        raise InputError(f"data: neither names nor positions match the labels, {both}; map them with data.labels")
    return {name: index for index, name in enumerate(labels.names)}


def _index(name: str) -> int:
    return int(name.removeprefix("LABEL_"))


def _common_spelling(names: Sequence[str], others: Sequence[str]) -> Callable[[str], str] | None:
    """Return a spelling under which two lists have the same names, each once: exact, or ignoring case."""
    for spelled in (str, str.casefold):
        left, right = {spelled(name) for name in names}, {spelled(name) for name in others}
        if left == right and len(left) == len(names) == len(others):
            return spelled
    return None
