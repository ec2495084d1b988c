"""Columns of a dataset: the input columns, the label column, and the labels in it."""

from decimal import Decimal
from typing import Any

import datasets

from compressor.errors import InputError, listed, unusable
from compressor.inputs.columns import Columns, is_class, only
from compressor.tasks import task_file


def find_columns(rows: datasets.Dataset, named: Columns, task_name: str) -> tuple[tuple[str, ...], str]:
    """Return the input columns and the label column: those that the recipe names, or the only ones that fit."""
    inputs, features = task_file(task_name).INPUTS, rows.features  # `features` is a copy at each look
    for key, value in named:
        for name in (value,) if isinstance(value, str) else value or ():
            if name not in features:
                there = listed(features)
                raise InputError(f"data.columns.{key}: no such column, got {name!r}; choose from {there}")
            if key not in (*inputs.COLUMNS, "label"):
                raise InputError(f"data.columns.{key}: not used in {task_name}, got {name!r}; leave it out")
    label = named.label or only("label", rows, ("label", "labels"), is_class)
    columns = inputs.find_columns(rows.remove_columns(label), named)
    for name in columns:
        if name == label or not inputs.is_column(features[name]):
            what = "is the label" if name == label else f"contains {features[name]}"
            raise InputError(f"data.columns: {name!r} cannot be used for {task_name}, it {what}")
    return columns, label


def label_words(rows: datasets.Dataset, label: str) -> list[str | None]:
    """Read what the label column says of each row; None where it says nothing, which is -1 in a `ClassLabel`."""
    feature = rows.features[label]
    with unusable(f"data.columns.label: {label!r} cannot be read", "name a column of classes"):
        values = rows[label][:]
    if is_class(feature):
        return [None if value in (None, -1) else feature.names[value] for value in values]
    try:
        return [_word(value) for value in values]
    except (TypeError, ValueError) as error:
        raise InputError(f"data.columns.label: one class per row is needed, {label!r} holds {feature}") from error


def _word(value: Any) -> str | None:
    """Write a label as a word; an empty cell and NaN are none."""
    if value is None or value != value or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, str | bool):
        return str(value)
    if not isinstance(value, int | float | Decimal) or value % 1:
        raise TypeError(value)
    return str(int(value))
