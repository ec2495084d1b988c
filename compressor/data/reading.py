"""Files and Hub datasets through `datasets`; of a CSV file every word is kept, `None` and `NA` too."""

import csv
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
from datasets.packaged_modules.csv.csv import Csv
from datasets.packaged_modules.json.json import Json

from compressor.data import json_form
from compressor.errors import InputError, listed

# pandas takes 20 words for a missing value, `None`, `NA` and `null` among them; they can be the name of a class.
CSV_SETTINGS: Mapping[str, Any] = {"keep_default_na": False, "na_values": [""]}
MISSING = "empty cells and null"
"""What is taken for a missing value."""


def load(path: str, config: str | None = None, **where: Any) -> Mapping[str, datasets.Dataset]:
    """Read all splits; arguments are those of ``datasets.load_dataset``."""
    try:
        builder = datasets.load_dataset_builder(path, config, **where)
    except ValueError:  # offline, a Hub dataset of CSV files lies in the cache under the settings it was read with
        if Path(path).exists() or "data_files" in where:
            raise
        found = datasets.load_dataset(path, config, **where, **CSV_SETTINGS)
        return found  # type: ignore[no-any-return]
    settings = CSV_SETTINGS if isinstance(builder, Csv) else {}
    check = _check_header if settings else json_form.check if isinstance(builder, Json) else None
    if check:
        files = [Path(file) for files in builder.config.data_files.values() for file in files]
        for file in files:
            if file.is_file():  # else it is an address on the Hub
                check(file)
    splits: Mapping[str, datasets.Dataset] = datasets.load_dataset(path, config, **where, **settings)
    return splits


def _check_header(file: Path) -> None:
    """Refuse two columns of one name: pandas would rename the second, and a second label would become a feature."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            names = next(csv.reader(stream), [])
    except (UnicodeDecodeError, csv.Error):
        return  # compressed, or damaged, which reading it will say
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise InputError(f"{file}: two columns are called {listed(twice, most=3)}; rename or remove one of them")
