"""What was read of a dataset, in numbers: for `check`, and for the first lines of a run."""

from collections import Counter
from typing import Any

from compressor.data.dataset import Raw
from compressor.data.reading import MISSING
from compressor.errors import listed


def overview(raw: Raw) -> dict[str, Any]:
    """Give columns read and left out, and of both splits the classes, the rows left out and those that occur twice."""
    splits = {}
    found = zip((raw.train, raw.report), raw.n_unlabelled, raw.content.n_repeated, strict=True)
    for name, (rows, n_unlabelled, n_repeated) in zip(("train", raw.report_split), found, strict=True):
        counts = Counter(raw.class_names(rows))
        splits[name] = {
            "n_rows": len(rows),
            "n_unlabelled": n_unlabelled,
            "n_duplicates": n_repeated,
            "classes": {label: counts[label] for label in raw.labels},
        }
    return {
        "columns": list(raw.columns),
        "label": raw.label,
        "left_out": dict(raw.left_out),
        "missing": MISSING,
        "splits": splits,
        "n_shared": raw.content.n_shared,
    }


def remarks(found: dict[str, Any]) -> list[str]:
    """Say what a user may not expect: columns and rows left out, classes without a row, rows in both splits."""
    lines = []
    if found["left_out"]:
        columns = ", ".join(f"{name!r} ({kind})" for name, kind in list(found["left_out"].items())[:6])
        n_more = len(found["left_out"]) - 6
        lines.append(f"data: columns not read: {columns}{f' and {n_more} more' if n_more > 0 else ''}")
    for name, split in found["splits"].items():
        if split["n_unlabelled"]:
            lines.append(f"data: {name}: {split['n_unlabelled']:,} rows have no label and are left out")
        if empty := [label for label, count in split["classes"].items() if not count]:
            lines.append(f"data: {name}: no row of class {listed(empty, most=6)}")
    if found["n_shared"]:
        report, split = list(found["splits"].items())[-1]
        lines.append(f"data: {found['n_shared']:,} of {split['n_rows']:,} rows of {report} are in train too")
    return lines
