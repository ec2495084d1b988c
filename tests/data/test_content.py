"""What is read of a dataset is counted: digest, duplicates, classes, what is left out; in time linear in the cells."""

import time
from typing import Any

import numpy as np
import pytest
from datasets import Dataset as Rows

from compressor.data.content import read_content
from compressor.data.dataset import Dataset, open_dataset
from compressor.data.overview import overview
from compressor.report.dataset import lines, remarks


def content(train, report=None):
    train = Rows.from_dict(train)
    columns = [name for name in train.features if name != "label"]
    return read_content((train, Rows.from_dict(report) if report else train.select([0])), columns, "label")


COLUMNS: dict[str, list[Any]] = {
    "numbers": [1.5, 2.5, 1.5],
    "whole": [1, 2, 1],
    "words": ["a", "b", "a"],
    "lists": [[1.0, 2.0], [2.0, 1.0], [1.0, 2.0]],
    "gaps": [None, "b", None],
}


@pytest.mark.parametrize("name", COLUMNS)
def test_rows_that_occur_twice_are_found_in_any_kind_of_column(name):
    cells = COLUMNS[name]
    found = content({name: cells, "label": [0, 1, 1]}, {name: [cells[1], cells[2], cells[1]], "label": [0, 0, 0]})
    assert (found.n_repeated, found.n_shared) == ((1, 1), 3)
    changed = content({name: [cells[0], cells[0], cells[0]], "label": [0, 1, 1]}, {name: cells[1:2], "label": [0]})
    assert (changed.n_repeated, changed.n_shared) == ((2, 0), 0)
    assert found.digest != changed.digest


def test_the_order_of_the_columns_tells_rows_apart():
    assert content({"x": [1, 2], "y": [2, 1], "label": [0, 0]}).n_repeated == (0, 0)


def test_the_digest_follows_every_cell_and_the_labels():
    base = {"x": [1.0, 2.0, 3.0], "label": ["a", "b", "a"]}
    others = [base | {"x": [1.0, 2.0, 4.0]}, base | {"label": ["a", "b", "b"]}, base | {"x": [2.0, 1.0, 3.0]}]
    digests = {content(each).digest for each in (base, *others)}
    assert len(digests) == 4
    assert content(base).digest == content({"x": np.array(base["x"]), "label": base["label"]}).digest


def test_batches_do_not_change_the_digest(monkeypatch):
    columns = {"x": list(range(50)), "words": [str(i) for i in range(50)], "label": [0, 1] * 25}
    whole = content(columns)
    monkeypatch.setattr("compressor.data.content.N_TOGETHER", 7)
    assert content(columns).digest == whole.digest


def test_the_time_is_linear_in_the_columns():
    def seconds(n_columns):
        rows = Rows.from_dict({f"x{i}": np.arange(200.0) for i in range(n_columns)} | {"label": [0, 1] * 100})
        columns = [name for name in rows.features if name != "label"]
        began = time.process_time()
        read_content((rows, rows.select(range(5))), columns, "label")
        return time.process_time() - began

    seconds(10)
    assert seconds(1600) < 16 * max(seconds(200), 0.05)  # 8 times as many; quadratic would be 64 times


@pytest.fixture
def csv(tmp_path):
    lines = [f"text {i % 30},{i},{('yes', 'no', '')[i % 3]}" for i in range(60)]
    (tmp_path / "a.csv").write_text("\n".join(["sentence,idx,label", *lines]) + "\n")
    return tmp_path / "a.csv"


def test_what_was_read_is_said(csv):
    found = overview(open_dataset(Dataset(dataset=str(csv)), "text-classification"))
    assert (found["columns"], found["label"], found["left_out"]) == (["sentence"], "label", {"idx": "int64"})
    train = found["splits"]["train"]
    assert (train["n_rows"], train["n_unlabelled"], set(train["classes"])) == (36, 20, {"yes", "no"})
    assert sum(train["classes"].values()) == 36
    said = remarks(found)
    assert "data: columns not read: 'idx' (int64)" in said
    assert "data: train: 20 rows have no label and are left out" in said
    assert f"data: {found['n_shared']} of 4 rows of 10% of train are in train too" in said
    assert lines(found)[0] == "columns: 'sentence', label 'label'; missing values are empty cells and null"
    assert lines(found)[1].startswith("classes in train: no ")
