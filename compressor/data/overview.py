"""What was read of a dataset, in numbers: for `check`, and for the first lines of a run."""

from collections import Counter

from compressor.data.dataset import Raw
from compressor.data.reading import MISSING
from compressor.report.dataset import DatasetRead, SplitRead


def overview(raw: Raw) -> DatasetRead:
    """Give columns read and left out, and of both splits the classes, the rows left out and those that occur twice."""
    splits: dict[str, SplitRead] = {}
    counted = zip((raw.train, raw.report), raw.n_unlabelled, raw.content.n_repeated, strict=True)
    for name, (rows, n_unlabelled, n_repeated) in zip(("train", raw.report_split), counted, strict=True):
        n_rows = Counter(raw.class_names(rows))
        splits[name] = {
            "n_rows": len(rows),
            "n_unlabelled": n_unlabelled,
            "n_duplicates": n_repeated,
            "classes": {label: n_rows[label] for label in raw.labels},
        }
    return {
        "columns": list(raw.columns),
        "label": raw.label,
        "left_out": dict(raw.left_out),
        "missing": MISSING,
        "splits": splits,
        "n_shared": raw.content.n_shared,
    }
