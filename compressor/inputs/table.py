"""Rows of numbers: read once into one tensor, by the names of their features."""

from collections.abc import Sequence
from typing import Any, Literal

import datasets
import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedConfig

from compressor.errors import InputError, RecipeError, listed
from compressor.inputs import Encode, Reader
from compressor.inputs.columns import Columns, is_list, is_number, only
from compressor.nets.tabular import Features

NAMES = ("features",)
COLUMNS = ("features",)
FREE_AXES = {0: "batch"}
PROCESSOR: Literal["needed", "made", "none"] = "none"
HAS_LENGTH = False
SKLEARN = ("breast_cancer", "digits", "iris", "wine")


def is_column(feature: Any) -> bool:
    """Return whether a column contains numbers, or lists of them."""
    return is_number(feature) or is_list(feature)


def find_columns(rows: datasets.Dataset, named: Columns) -> tuple[str, ...]:
    """Return the columns of numbers, or the one that contains lists of them."""
    numbers = tuple(name for name, feature in rows.features.items() if is_number(feature))
    columns = named.features or numbers or (only("features", rows, (), is_list),)
    if len(columns) > 1 and (lists := [name for name in columns if is_list(rows.features.get(name))]):
        raise InputError(
            f"data.columns.features: {lists[0]!r} contains lists; give only that column, or columns of numbers"
        )
    return columns


def read_processor(folder: str, **settings: Any) -> None:
    """Load nothing: the network standardises its features itself."""


def new_processor(config: PreTrainedConfig) -> None:
    """Make nothing."""


def agree_(config: PreTrainedConfig, processor: None, place: str) -> None:
    """Do nothing: a table has no processor."""


def features(rows: datasets.Dataset, columns: Sequence[str]) -> Features:
    """Name the features of a table and measure mean and standard deviation of each; one for those that never vary."""
    names, values = _numbers(rows, columns)
    means, stds = values.mean(axis=0, dtype=np.float64), values.std(axis=0, dtype=np.float64)
    return Features(names, tuple(means.tolist()), tuple(np.where(stds == 0, 1.0, stds).tolist()))


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
    return lambda indices: {"features": table[indices]}, [1] * len(rows)


def mirrored(encode: Encode, n_examples: int) -> Encode:
    """Refuse."""
    raise RecipeError("data.mirror: works on images only; leave it out")


def sizes(config: PreTrainedConfig) -> dict[str, int]:
    """Return nothing: all sizes are widths."""
    return {}


def example(
    reader: Reader, config: PreTrainedConfig, batch_size: int, length: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Make random rows in the units of the table."""
    means, stds = torch.tensor(config.feature_means), torch.tensor(config.feature_stds)
    return {"features": means + stds * torch.randn(batch_size, len(means), generator=generator)}


def plain(config: PreTrainedConfig, batch_size: int, length: int) -> dict[str, Tensor]:
    """Make rows of zeros."""
    return {"features": torch.zeros(batch_size, len(config.feature_names))}


def from_sklearn(bunch: Any) -> tuple[dict[str, Any], datasets.Features]:
    """Name the columns as scikit-learn does."""
    columns = dict(zip(bunch.feature_names, bunch.data.T, strict=True))
    return columns, datasets.Features(dict.fromkeys(bunch.feature_names, datasets.Value("float32")))


def _numbers(rows: datasets.Dataset, columns: Sequence[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """Read the columns, or the only one with lists, as float32 of shape (n_rows, n_features)."""
    frame = rows.select_columns(list(columns)).to_pandas()
    if is_number(rows.features[columns[0]]):
        names, values = tuple(columns), frame.to_numpy(np.float32)
    else:
        values = _stacked(frame[columns[0]], columns[0])
        names = tuple(f"{columns[0]}[{index}]" for index in range(values.shape[1]))
    is_bad = ~np.isfinite(values)
    if is_bad.any():
        first = int(is_bad.any(axis=0).argmax())
        what = f"{names[first]!r} has no finite number in {is_bad[:, first].sum()} rows"
        raise InputError(f"data: {what}; fill or remove them")
    return names, values


def _stacked(column: Sequence[Sequence[float]], name: str) -> np.ndarray:
    try:
        return np.stack([np.asarray(values, np.float32) for values in column])
    except (TypeError, ValueError) as error:
        raise InputError(f"data: all rows of {name!r} need lists of the same length ({error})") from error
