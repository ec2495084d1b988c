"""Columns of a dataset: the names that a recipe can give, and how columns of each kind are recognised."""

from collections.abc import Callable, Sequence
from typing import Any

import datasets
import numpy as np
from pydantic import Field, model_validator

from compressor.errors import InputError, listed
from compressor.options import Base


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


def only(key: str, rows: datasets.Dataset, usual: Sequence[str], is_meant: Callable[[Any], bool]) -> str:
    """Return the column with a usual name, or the only one of its kind."""
    of_kind = [name for name, feature in rows.features.items() if is_meant(feature)]
    candidates = [name for name in usual if name in rows.features][:1] or of_kind
    if len(candidates) != 1:
        what = f"several columns fit, {listed(of_kind)}" if of_kind else "no column fits"
        raise InputError(f"data.columns.{key}: {what}, out of {listed(rows.features)}; name it in the recipe")
    return candidates[0]


def is_class(feature: Any) -> bool:
    """Return whether a column names its classes."""
    return isinstance(feature, datasets.ClassLabel)


def is_image(feature: Any) -> bool:
    """Return whether a column contains images."""
    return isinstance(feature, datasets.Image)


def is_number(feature: Any) -> bool:
    """Return whether a column contains one number in each row."""
    kinds = ("int", "uint", "float", "bool", "decimal")
    return isinstance(feature, datasets.Value) and feature.dtype.startswith(kinds)


def is_list(feature: Any) -> bool:
    """Return whether a column contains a list of numbers in each row."""
    return isinstance(feature, datasets.List | datasets.LargeList) and is_number(feature.feature)


def cells(rows: datasets.Dataset, name: str) -> np.ndarray:
    """Read a column of numbers at once, in the order of the rows.

    `datasets` 5.2 gathers selected rows one by one, which takes some 300 bytes a cell: too much for a wide table.
    """
    column, chosen = rows.data.column(name), rows._indices
    found: np.ndarray = (column if chosen is None else column.take(chosen.column(0))).to_numpy()
    return found


def is_text(feature: Any) -> bool:
    """Return whether a column contains text."""
    return getattr(feature, "dtype", "") in ("string", "large_string")


def row_numbers(rows: datasets.Dataset, at: Sequence[int]) -> list[int]:
    """Positions that rows had in the split before some of it was selected, for messages."""
    taken = rows._indices  # datasets has no public name for them
    return list(at) if taken is None else [taken.column(0)[index].as_py() for index in at]
