"""Which output of a network a dataset's label means: matched by name or by index, and never by luck."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from compressor.errors import InputError


@dataclass(frozen=True)
class Labels:
    """The labels of a dataset."""

    names: tuple[str, ...]
    is_ordered: bool
    """Whether position k is class k, as in a ClassLabel or in plain integers from 0; words in a CSV have no order."""


def has_real_names(names: Sequence[str]) -> bool:
    """Whether labels are words, rather than integers or `LABEL_0`, `LABEL_1`."""
    return not all(re.fullmatch(r"(LABEL_)?\d+", name) for name in names)


def from_values(values: set[str]) -> Labels:
    """Labels of a column that holds plain integers or words."""
    if has_real_names(sorted(values)):
        return Labels(tuple(sorted(values)), is_ordered=False)
    names = tuple(sorted(values, key=lambda name: int(name.removeprefix("LABEL_"))))
    return Labels(
        names, is_ordered=[name.removeprefix("LABEL_") for name in names] == [str(k) for k in range(len(names))]
    )


def rename(labels: Labels, mapping: Mapping[str, str]) -> tuple[Labels, dict[str, str]]:
    """Apply the recipe's map; gives the labels it leads to, and the map from each name the dataset has."""
    wanted = {_key(name): target for name, target in mapping.items()}
    known = {_key(name) for name in labels.names}
    if set(wanted) != known:
        raise InputError(
            f"data.labels: must name each label of the dataset once, {_both(labels.names, tuple(mapping))}"
        )
    renamed = {name: wanted[_key(name)] for name in labels.names}
    return from_values(set(renamed.values())), renamed


def match(labels: Labels, outputs: Sequence[str]) -> dict[str, int]:
    """Index of the network's output for each label of the dataset.

    Equal names decide, whatever their case. Where either side has no real names, position decides, if the dataset
    declares positions. All else is refused: swapped labels would look like a bad model.
    """
    by_name = {_key(name): index for index, name in enumerate(outputs)}
    if set(by_name) == {_key(name) for name in labels.names}:
        return {name: by_name[_key(name)] for name in labels.names}
    both = _both(labels.names, outputs)
    if len(labels.names) != len(outputs):
        raise InputError(f"data: {len(labels.names)} labels for a head of {len(outputs)} outputs, {both}")
    if has_real_names(labels.names) and has_real_names(outputs):
        raise InputError(f"data: the names of the labels differ, {both}; map them with data.labels")
    if not labels.is_ordered:
        raise InputError(
            f"data: the dataset's labels have no order to match them by, {both}; map them with data.labels"
        )
    return {name: index for index, name in enumerate(labels.names)}


def _key(name: str) -> str:
    return name.strip().casefold()


def _both(found: Sequence[str], expected: Sequence[str]) -> str:
    return f"dataset has {_some(found)}, the model {_some(expected)}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:12])) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
