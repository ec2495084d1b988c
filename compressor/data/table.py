"""A table as numbers: its rows in one tensor, the names of its features, and their scale."""

from collections.abc import Callable, Sequence

import datasets
import numpy as np
import torch
from torch import Tensor

from compressor.data.columns import is_number
from compressor.errors import InputError, listed
from compressor.nets.tabular import Features


def scale(rows: datasets.Dataset, columns: Sequence[str]) -> Features:
    """Name the features of a table and measure mean and standard deviation of each; one for those that never vary."""
    names, values = _numbers(rows, columns)
    means, stds = values.mean(axis=0, dtype=np.float64), values.std(axis=0, dtype=np.float64)
    return Features(names, tuple(means.tolist()), tuple(np.where(stds == 0, 1.0, stds).tolist()))


def encoder(
    rows: datasets.Dataset, columns: Sequence[str], wanted: Sequence[str]
) -> Callable[[Tensor], dict[str, Tensor]]:
    """Give the function from indices to the inputs of a network that reads the ``wanted`` features, in their order."""
    names, values = _numbers(rows, columns)
    if missing := [name for name in wanted if name not in names]:
        raise InputError(
            f"data: the network reads {listed(missing, most=6)}, which the table lacks; it has {listed(names, most=6)}"
        )
    if unknown := [name for name in names if name not in wanted]:
        raise InputError(
            f"data: the network does not know {listed(unknown, most=6)}; choose with data.columns.features"
        )
    table = torch.from_numpy(values[:, [names.index(name) for name in wanted]])
    return lambda indices: {"features": table[indices]}


def _numbers(rows: datasets.Dataset, columns: Sequence[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """Read the columns, or the only one that holds lists, as float32 of shape (n_rows, n_features)."""
    frame = rows.select_columns(list(columns)).to_pandas()
    if is_number(rows.features[columns[0]]):
        names, values = tuple(columns), frame.to_numpy(np.float32)
    else:
        values = _stacked(frame[columns[0]], columns[0])
        names = tuple(f"{columns[0]}[{index}]" for index in range(values.shape[1]))
    is_bad = ~np.isfinite(values)
    if is_bad.any():
        first = int(is_bad.any(axis=0).argmax())
        what = f"{names[first]!r} holds no finite number in {is_bad[:, first].sum()} rows"
        raise InputError(f"data: {what}; fill or remove them")
    return names, values


def _stacked(column: Sequence[Sequence[float]], name: str) -> np.ndarray:
    try:
        return np.stack([np.asarray(values, np.float32) for values in column])
    except (TypeError, ValueError) as error:
        raise InputError(f"data: lists of one length are needed in every row of {name!r} ({error})") from error
