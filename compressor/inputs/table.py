"""Rows of numbers: read once into one tensor, by the names of their features."""

from collections.abc import Sequence
from typing import Any, Literal

import datasets
import numpy as np
import pandas as pd
import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from compressor.errors import InputError, listed
from compressor.inputs import Encode, Reader
from compressor.inputs.columns import Columns, cells, is_list, is_number, is_text, only
from compressor.nets.tabular import Features

NAMES = ("features",)
COLUMNS = ("features",)
FREE_AXES = {0: "batch"}
PROCESSOR: Literal["needed", "made", "none"] = "none"
HAS_LENGTH = False
COARSE = 1e-3  # steps of float32 in standard deviations of a feature, from which on float64 is read
MOST_ORIGIN = 2.0**62  # origins are int64
SKLEARN = ("breast_cancer", "digits", "iris", "wine")
mirrored = None


def is_column(feature: Any) -> bool:
    """Return whether a column contains numbers, or lists of them."""
    return is_number(feature) or is_list(feature)


def find_columns(rows: datasets.Dataset, named: Columns) -> tuple[str, ...]:
    """Return the columns of numbers, or the one that contains lists of them."""
    features = rows.features
    numbers = tuple(name for name, feature in features.items() if is_number(feature))
    if named.features is None:
        _refuse_spoiled(rows)
    columns = named.features or numbers or (only("features", rows, (), is_list),)
    if len(columns) > 1 and (lists := [name for name in columns if is_list(features.get(name))]):
        raise InputError(
            f"data.columns.features: {lists[0]!r} contains lists; give only that column, or columns of numbers"
        )
    return columns


def check(rows: datasets.Dataset, columns: Sequence[str], split: str) -> None:
    """Find nothing: the numbers are read at once, and with them what is wrong with them."""


def read_processor(folder: str, **settings: Any) -> None:
    """Load nothing: the network standardises its features itself."""


def new_processor(config: PreTrainedConfig) -> None:
    """Make nothing."""


def agree_(net: PreTrainedModel, processor: None, place: str) -> None:
    """Do nothing: a table has no processor."""


def longest(net: PreTrainedModel) -> None:
    """Return None: rows have no length."""


def features(rows: datasets.Dataset, columns: Sequence[str]) -> Features:
    """Name the features of a table and measure mean and standard deviation of each; one for those that never vary.

    Where float32 is too coarse for a feature, such as seconds since 1970 with its steps of 128, the whole number
    nearest to the mean becomes its origin.
    """
    names, values = _numbers(rows, columns)
    means, stds = values.mean(axis=0), values.std(axis=0)
    is_coarse = np.spacing(np.abs(values).max(axis=0).astype(np.float32)) > COARSE * stds
    is_coarse &= (stds > 0) & (np.abs(means) < MOST_ORIGIN)
    origins = np.where(is_coarse, means.round(), 0)
    stds = np.where(stds == 0, 1.0, stds).tolist()
    whole = tuple(map(int, origins.tolist())) if is_coarse.any() else None
    return Features(names, tuple((means - origins).tolist()), tuple(stds), whole)


def encode(rows: datasets.Dataset, columns: Sequence[str], reader: Reader, max_length: int) -> tuple[Encode, list[int]]:
    """Read the features that the network reads, in its order; ``max_length`` has no meaning for them."""
    names, values = _numbers(rows, columns)
    wanted = reader.features
    if missing := [name for name in wanted if name not in names]:
        present = listed(names, most=6)
        raise InputError(f"data: the network reads {listed(missing, most=6)}, which the table lacks; it has {present}")
    if unknown := [name for name in names if name not in wanted]:
        what = f"the network has no feature {listed(unknown, most=6)}"
        raise InputError(f"data: {what}; choose with data.columns.features")
    table = torch.from_numpy(values[:, [names.index(name) for name in wanted]])
    table = table if reader.is_double else table.float()
    return lambda indices: {"features": table[indices]}, [1] * len(rows)


def sizes(config: PreTrainedConfig) -> dict[str, int]:
    """Return nothing: all sizes are widths."""
    return {}


def example(
    reader: Reader, config: PreTrainedConfig, batch_size: int, length: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Make random rows in the units of the table."""
    means, stds = torch.tensor(config.feature_means), torch.tensor(config.feature_stds)
    rows = means + stds * torch.randn(batch_size, len(means), generator=generator)
    return {"features": rows if config.feature_origins is None else rows + _origins(config)}


def plain(config: PreTrainedConfig, batch_size: int, length: int) -> dict[str, Tensor]:
    """Make rows of zeros."""
    rows = torch.zeros(batch_size, len(config.feature_names))
    return {"features": rows if config.feature_origins is None else rows + _origins(config)}


def from_sklearn(bunch: Any) -> tuple[dict[str, Any], datasets.Features]:
    """Name the columns as scikit-learn does."""
    columns = dict(zip(bunch.feature_names, bunch.data.T, strict=True))
    return columns, datasets.Features(dict.fromkeys(bunch.feature_names, datasets.Value("float32")))


def _numbers(rows: datasets.Dataset, columns: Sequence[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """Read the columns, or the only one with lists, as float64 of shape (n_rows, n_features)."""
    if is_number(rows.features[columns[0]]):
        names, values = tuple(columns), np.empty((len(rows), len(columns)))
        for index, name in enumerate(columns):
            values[:, index] = cells(rows, name)
    else:
        values = _stacked(rows.select_columns(columns[0]).to_pandas()[columns[0]], columns[0])
        names = tuple(f"{columns[0]}[{index}]" for index in range(values.shape[1]))
    is_bad = ~(np.abs(values) <= np.finfo(np.float32).max)
    if is_bad.any():
        first = int(is_bad.any(axis=0).argmax())
        what = f"{names[first]!r} has no finite number in {is_bad[:, first].sum()} rows"
        raise InputError(f"data: {what}; fill or remove them")
    return names, values


def _stacked(column: Sequence[Sequence[float]], name: str) -> np.ndarray:
    try:
        return np.stack([np.asarray(values, np.float64) for values in column])
    except (TypeError, ValueError) as error:
        raise InputError(f"data: all rows of {name!r} need lists of the same length ({error})") from error


def _origins(config: PreTrainedConfig) -> Tensor:
    return torch.tensor(config.feature_origins, dtype=torch.float64)


def _refuse_spoiled(rows: datasets.Dataset) -> None:
    """Refuse columns that were read as words because some of their cells hold no number; they would be left out."""
    for name in (name for name, feature in rows.features.items() if is_text(feature)):
        words = rows.select_columns([name]).to_pandas()[name].dropna()
        is_odd = pd.to_numeric(words, errors="coerce").isna()
        if 0 < is_odd.sum() <= len(words) / 2:
            example = words[is_odd].iloc[0]
            raise InputError(
                f"data: column {name!r} holds no number in {is_odd.sum()} of {len(words)} rows, such as {example!r}; "
                "fill or remove them, or name the columns to read in data.columns.features"
            )
