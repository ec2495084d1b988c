"""Columns of a dataset: which of them are the text, the image, the features and the label, and what they say."""

from collections.abc import Callable, Sequence
from typing import Any

import datasets
from pydantic import Field, model_validator

from compressor.errors import InputError, listed
from compressor.options import Base

READ = {
    "text-classification": ("text", "text_pair"),
    "image-classification": ("image",),
    "tabular-classification": ("features",),
}
PAIRS = (("sentence1", "sentence2"), ("question1", "question2"), ("premise", "hypothesis"), ("question", "sentence"))


class Columns(Base):
    """Names of the columns; by default they are found by type and usual name."""

    text: str | None = None
    """Column of the text."""
    text_pair: str | None = None
    """Column of the second text, in a task on pairs."""
    image: str | None = None
    """Column of the image."""
    features: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Number columns of a table, or one column of lists of numbers; by default all number columns but the label."""
    label: str | None = None
    """Column of the class."""

    @model_validator(mode="after")
    def _whole_pair(self) -> "Columns":
        if self.text_pair is not None and self.text is None:
            raise ValueError("'text_pair' needs 'text'")
        return self


def find_columns(rows: datasets.Dataset, named: Columns, task_name: str) -> tuple[tuple[str, ...], str]:
    """Give the input columns and the label's: those the recipe names, else what the features leave no doubt about."""
    for key, value in named:
        for name in (value,) if isinstance(value, str) else value or ():
            if name not in rows.features:
                there = listed(rows.features)
                raise InputError(f"data.columns.{key}: no such column, got {name!r}; choose from {there}")
            if key not in (*READ[task_name], "label"):
                raise InputError(f"data.columns.{key}: not read in {task_name}, got {name!r}; leave it out")
    label = named.label or _found("label", rows, ("label", "labels"), is_class)
    others = rows.remove_columns(label)
    if task_name == "image-classification":
        columns, is_meant = _image(others, named), is_image
    elif task_name == "tabular-classification":
        columns = _features(others, named)
        is_meant = _is_list if len(columns) == 1 and _is_list(rows.features[columns[0]]) else is_number
    else:
        columns, is_meant = _texts(others, named), _is_text
    for name in columns:
        if name == label or not is_meant(rows.features[name]):
            what = "is the label" if name == label else f"holds {rows.features[name]}"
            raise InputError(f"data.columns: {name!r} is no column for {task_name}, it {what}")
    return columns, label


def _texts(others: datasets.Dataset, named: Columns) -> tuple[str, ...]:
    if named.text is not None:
        return (named.text,) if named.text_pair is None else (named.text, named.text_pair)
    pair = next((pair for pair in PAIRS if set(pair) <= set(others.features)), None)
    return pair or (_found("text", others, ("text", "sentence"), _is_text),)


def _image(others: datasets.Dataset, named: Columns) -> tuple[str, ...]:
    return (named.image or _found("image", others, (), is_image),)


def _features(others: datasets.Dataset, named: Columns) -> tuple[str, ...]:
    numbers = tuple(name for name, feature in others.features.items() if is_number(feature))
    return named.features or numbers or (_found("features", others, (), _is_list),)


def _found(key: str, rows: datasets.Dataset, usual: Sequence[str], is_meant: Callable[[Any], bool]) -> str:
    """Column of a usual name, or the only one of its kind."""
    kin = [name for name, feature in rows.features.items() if is_meant(feature)]
    found = [name for name in usual if name in rows.features][:1] or kin
    if len(found) != 1:
        what = f"{listed(kin)} could all be it" if kin else "no column looks like it"
        raise InputError(f"data.columns.{key}: {what}, there are {listed(rows.features)}; name it in the recipe")
    return found[0]


def is_class(feature: Any) -> bool:
    """Tell whether a column names its classes."""
    return isinstance(feature, datasets.ClassLabel)


def is_image(feature: Any) -> bool:
    """Tell whether a column holds images."""
    return isinstance(feature, datasets.Image)


def is_number(feature: Any) -> bool:
    """Tell whether a column holds one number in each row."""
    return isinstance(feature, datasets.Value) and feature.dtype.startswith(("int", "uint", "float", "bool"))


def _is_list(feature: Any) -> bool:
    return isinstance(feature, datasets.List | datasets.LargeList) and is_number(feature.feature)


def _is_text(feature: Any) -> bool:
    return getattr(feature, "dtype", "") in ("string", "large_string")


def label_words(rows: datasets.Dataset, label: str) -> list[str | None]:
    """Read what the label column says of each row; None where it says nothing, which is -1 on the Hub."""
    feature, values = rows.features[label], rows[label][:]
    if is_class(feature):
        return [None if value in (None, -1) else feature.names[value] for value in values]
    if any(isinstance(value, list | dict) or (isinstance(value, float) and value % 1) for value in values):
        raise InputError(f"data.columns.label: one class per row is needed, {label!r} holds {feature}")
    return [None if value in (None, -1) else value if isinstance(value, str) else str(int(value)) for value in values]
