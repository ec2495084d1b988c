"""What a dataset holds: its digest, and which rows occur twice; one pass over the rows, linear in their cells."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa

from compressor.inputs.columns import is_class, is_number, is_text

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
        of_columns = {
            name: hashlib.sha256(_header(name, features[name], len(rows)).encode()) for name in (*columns, label)
        }
        of_rows = []
        for batch in _batches(rows, tuple(of_columns)):
            cells = {name: _cells(batch[name], features[name]) for name in of_columns}
            for name, hashes in cells.items():
                of_columns[name].update(hashes.tobytes())
            of_rows.append(_combined([cells[name] for name in columns]))
        for found in of_columns.values():
            content.update(found.digest())
        of_splits.append(np.concatenate(of_rows))
    return Content(content.hexdigest(), tuple(of_splits))


def _header(name: str, feature: Any, n_rows: int) -> str:
    return f"{name}: {feature.names if is_class(feature) else n_rows}"


def _batches(rows: datasets.Dataset, names: Sequence[str]) -> Iterator[pa.Table]:
    """Yield tables of undecoded cells: of an image the file."""
    yield from rows.select_columns(list(names)).with_format("arrow").iter(N_TOGETHER)


def _cells(column: pa.ChunkedArray, feature: Any) -> np.ndarray:
    """Hash each cell to 64 bits; whole arrays of numbers and words at a time."""
    if is_class(feature) or is_number(feature) or is_text(feature):
        return cast(np.ndarray, pd.util.hash_array(column.to_numpy(), categorize=False))
    digests = (hashlib.sha256(_bytes(value)).digest()[:8] for value in column.to_pylist())
    return np.frombuffer(b"".join(digests), np.uint64)


def _combined(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Hash rows by the hashes of their cells, in order."""
    rows = np.zeros(len(columns[0]), np.uint64)
    for cells in columns:
        rows = (rows ^ cells) * ODD
        rows ^= rows >> np.uint64(29)
    return rows


def _bytes(value: Any) -> bytes:
    """Content of a cell; that of an image is its file."""
    if isinstance(value, dict) and value.keys() == {"bytes", "path"}:
        return cast(bytes, value["bytes"] or Path(value["path"]).read_bytes())
    return repr(value).encode()
