"""JSON on which Arrow's parser crashes is refused; whatever it reads is left alone."""

import json
import os

import pytest
from datasets import Dataset as Rows

from compressor.data.dataset import Dataset, open_dataset
from compressor.errors import InputError

TEXT = "text-classification"
ROWS = [{"sentence": f"the [[[ film {'{' * 150} {i}", "label": ("no", "yes")[i % 2]} for i in range(40)]
LINES = [json.dumps(row) for row in ROWS]


def opened(dataset):
    return open_dataset(Dataset(dataset=str(dataset)), TEXT)


@pytest.mark.parametrize("text", ["null\n", "  null\n", "[null, {}]", "3\n", '"words"\n', "\ufeffnull\n"])
def test_a_file_that_does_not_start_with_an_object(tmp_path, text):
    (tmp_path / "a.jsonl").write_text(text + "\n".join(LINES))
    with pytest.raises(InputError, match=r"a\.jsonl: each row should be an object such as \{\.\.\.\}, found "):
        opened(tmp_path / "a.jsonl")


@pytest.mark.parametrize("bomb", ["[" * 10_000 + "]" * 10_000, '{"a":' * 10_000 + "1" + "}" * 10_000])
def test_values_that_are_nested_like_a_bomb(tmp_path, bomb):
    (tmp_path / "a.jsonl").write_text("\n".join([*LINES, '{"sentence": ' + bomb + "}"]))
    with pytest.raises(InputError, match="values are nested deeper than 100 levels; flatten them"):
        opened(tmp_path / "a.jsonl")


@pytest.mark.parametrize("text", ["\n".join(["", *LINES]), json.dumps(ROWS), json.dumps(ROWS, indent=1)])
def test_rows_in_every_form_are_read_with_brackets_in_their_texts(tmp_path, text):
    (tmp_path / "train.json").write_text(text)
    raw = opened(tmp_path)
    assert len(raw.train) + len(raw.report) == 40


def test_pipes_are_not_read(tmp_path):
    os.mkfifo(tmp_path / "a.csv")
    for dataset in (tmp_path / "a.csv", tmp_path):
        with pytest.raises(InputError, match=r"data\.dataset: .*a\.csv: no regular file; "):
            opened(dataset)


def test_labels_that_are_dates_or_bytes(tmp_path):
    import datetime

    day = datetime.date(2020, 1, 1)
    for labels in ([day, day.replace(year=2021)], [b"a", b"\xff"], [[1], [2]]):
        Rows.from_dict({"sentence": ["a", "b"] * 20, "label": labels * 20}).to_parquet(tmp_path / "a.parquet")
        with pytest.raises(InputError, match=r"^data\.columns\.label: one class per row is needed, 'label' holds "):
            opened(tmp_path / "a.parquet")
