"""What a dataset holds: its digest, and which rows occur twice; one pass over the rows, linear in their cells."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa

from compressor.inputs.columns import cells, is_class, is_number, is_text

N_TOGETHER = 10_000  # rows of a batch; no result depends on it unless numbers are missing
ODD = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio: any odd number with mixed bits


@dataclass(frozen=True)
class Content:
    """Hashes of the training split and of the reported one."""

    digest: str
    """Of all cells that are read: no path and no date enters it."""
    rows: tuple[np.ndarray, ...]
    """For each split a number for each row, shape (n_rows,), equal where the inputs are."""

    @property
    def n_repeated(self) -> tuple[int, ...]:
        """Count in each split the rows that occurred before in it."""
        return tuple(len(each) - len(np.unique(each)) for each in self.rows)

    @property
    def n_shared(self) -> int:
        """Count the rows of the last split whose inputs are in the first one as well."""
        return int(np.isin(self.rows[-1], self.rows[0]).sum())


def read_content(splits: Sequence[datasets.Dataset], columns: Sequence[str], label: str) -> Content:
    """Hash the cells of every column; those of the label do not distinguish rows."""
    content, of_splits = hashlib.sha256(), []
    for rows in splits:
        features = rows.features  # a copy of all of them at each look: one look, or the time is quadratic
        of_rows = np.zeros(len(rows), np.uint64)
        for name in (*columns, label):
            hashes = _hashes(rows, name, features[name])
            content.update(
                _header(name, features[name], len(rows)).encode() + hashlib.sha256(hashes.tobytes()).digest()
            )
            if name != label:
                _mix_(of_rows, hashes)
        of_splits.append(of_rows)
    return Content(content.hexdigest(), tuple(of_splits))


def _header(name: str, feature: Any, n_rows: int) -> str:
    return f"{name}: {feature.names if is_class(feature) else n_rows}"


def _hashes(rows: datasets.Dataset, name: str, feature: Any) -> np.ndarray:
    """Hash each cell of a column to 64 bits; whole arrays of numbers and words at a time."""
    if is_class(feature) or is_number(feature):
        return cast(np.ndarray, pd.util.hash_array(cells(rows, name), categorize=False))
    batches = (
        rows.select_columns(name).with_format("arrow").iter(N_TOGETHER)
    )  # of undecoded cells: of an image the file
    return np.concatenate([_hashes_of_batch(batch[name], feature) for batch in batches])


def _hashes_of_batch(column: pa.ChunkedArray, feature: Any) -> np.ndarray:
    if is_text(feature):
        return cast(np.ndarray, pd.util.hash_array(column.to_numpy(), categorize=False))
    digests = (hashlib.sha256(_bytes(value)).digest()[:8] for value in column.to_pylist())
    return np.frombuffer(b"".join(digests), np.uint64)


def _mix_(rows: np.ndarray, hashes: np.ndarray) -> None:
    """Add the hashes of one more cell to those of the rows; the order of the cells counts."""
    rows ^= hashes
    rows *= ODD
    rows ^= rows >> np.uint64(29)


def _bytes(value: Any) -> bytes:
    """Content of a cell; that of an image is its file."""
    if isinstance(value, dict) and value.keys() == {"bytes", "path"}:
        return cast(bytes, value["bytes"] or Path(value["path"]).read_bytes())
    return repr(value).encode()
