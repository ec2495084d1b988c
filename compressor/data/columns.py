"""Columns of a dataset: the input columns, the label column, and the labels in it."""

import datasets

from compressor.errors import InputError, listed
from compressor.inputs.columns import Columns, is_class, only
from compressor.tasks import task_file


def find_columns(rows: datasets.Dataset, named: Columns, task_name: str) -> tuple[tuple[str, ...], str]:
    """Return the input columns and the label column: those that the recipe names, or the only ones that fit."""
    inputs = task_file(task_name).INPUTS
    for key, value in named:
        for name in (value,) if isinstance(value, str) else value or ():
            if name not in rows.features:
                choices = listed(rows.features)
                raise InputError(f"data.columns.{key}: no such column, got {name!r}; choose from {choices}")
            if key not in (*inputs.COLUMNS, "label"):
                raise InputError(f"data.columns.{key}: not used in {task_name}, got {name!r}; leave it out")
    label = named.label or only("label", rows, ("label", "labels"), is_class)
    columns = inputs.find_columns(rows.remove_columns(label), named)
    for name in columns:
        if name == label or not inputs.is_column(rows.features[name]):
            what = "is the label" if name == label else f"contains {rows.features[name]}"
            raise InputError(f"data.columns: {name!r} cannot be used for {task_name}, it {what}")
    return columns, label


def label_words(rows: datasets.Dataset, label: str) -> list[str | None]:
    """Read the label of each row; None if a row has none, which is -1 on the Hub."""
    feature, values = rows.features[label], rows[label][:]
    if is_class(feature):
        return [None if value in (None, -1) else feature.names[value] for value in values]
    if any(isinstance(value, list | dict) or (isinstance(value, float) and value % 1) for value in values):
        raise InputError(f"data.columns.label: one class per row is needed, {label!r} contains {feature}")
    return [None if value in (None, -1) else value if isinstance(value, str) else str(int(value)) for value in values]
