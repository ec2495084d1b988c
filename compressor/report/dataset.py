"""What was read of a dataset: the numbers that `check` gives, and the lines that say them."""

from typing import TypedDict

from compressor.errors import listed

MOST_PADDING_GAP = 1e-3
MOST_CLASSES, MOST_COLUMNS = 12, 6  # that are named in a line


class SplitRead(TypedDict):
    """One split."""

    n_rows: int
    n_unlabelled: int
    """Rows that are left out because their label is missing."""
    n_duplicates: int
    """Rows whose inputs occurred before in the split."""
    classes: dict[str, int]
    """Rows of each class."""


class DatasetRead(TypedDict):
    """The training split and the reported one."""

    columns: list[str]
    label: str
    left_out: dict[str, str]
    """Columns that are not read, with their types."""
    missing: str
    """What is taken for a missing value."""
    splits: dict[str, SplitRead]
    n_shared: int
    """Rows of the reported split whose inputs are in the training split too."""


def remarks(read: DatasetRead) -> list[str]:
    """Say what a user may not expect: columns and rows left out, classes without a row, rows in both splits."""
    lines = []
    if read["left_out"]:
        kinds = [f"{name!r} ({kind})" for name, kind in read["left_out"].items()]
        more = f" and {len(kinds) - MOST_COLUMNS:,} more" if len(kinds) > MOST_COLUMNS else ""
        lines.append(f"data: columns not read: {', '.join(kinds[:MOST_COLUMNS])}{more}")
    for name, split in read["splits"].items():
        if split["n_unlabelled"]:
            lines.append(f"data: {name}: {split['n_unlabelled']:,} rows have no label and are left out")
        if empty := [label for label, n_rows in split["classes"].items() if not n_rows]:
            lines.append(f"data: {name}: no row of class {listed(empty, most=MOST_CLASSES)}")
    if read["n_shared"]:
        name, split = list(read["splits"].items())[-1]
        lines.append(f"data: {read['n_shared']:,} of {split['n_rows']:,} rows of {name} are in train too")
    return lines


def padding(gap: float | None) -> list[str]:
    """Say that padding changes the answers of a network."""
    if gap is None or not gap > MOST_PADDING_GAP:
        return []
    return [f"model: padding changes its answers by up to {gap:.2g} of the largest; a batch reads texts differently"]


def lines(read: DatasetRead) -> list[str]:
    """Say all of it, for a person who checks a recipe."""
    columns = listed(read["columns"], most=MOST_CLASSES)
    said = [f"columns: {columns}, label {read['label']!r}; missing values are {read['missing']}"]
    for name, split in read["splits"].items():
        counts = [f"{label} {n_rows:,}" for label, n_rows in split["classes"].items()]
        more = f" and {len(counts) - MOST_CLASSES:,} more" if len(counts) > MOST_CLASSES else ""
        said.append(
            f"classes in {name}: {', '.join(counts[:MOST_CLASSES])}{more}; {split['n_duplicates']:,} duplicate rows"
        )
    return said + remarks(read)
