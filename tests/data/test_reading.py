"""Words of a CSV file are kept, -1 is a class unless a split has no other, columns of one name are refused."""

import pytest
from datasets import Dataset as Rows

from compressor.data.dataset import Dataset, open_dataset
from compressor.errors import InputError

TEXT = "text-classification"


def opened(dataset, task=TEXT, **options):
    return open_dataset(Dataset(dataset=str(dataset), **options), task)


@pytest.mark.parametrize("word", ["None", "NA", "N/A", "null", "nan", "NULL", "#N/A", "n/a"])
@pytest.mark.parametrize("is_folder", [False, True])
def test_a_class_of_any_name_is_read_from_a_csv(tmp_path, word, is_folder):
    file = tmp_path / "train.csv"
    file.write_text("sentence,label\n" + "a,Favor\nb,Against\n" * 10 + f"c,{word}\n" * 10)
    raw = opened(tmp_path if is_folder else file)
    assert raw.labels == tuple(sorted(("Favor", "Against", word)))
    assert (len(raw.train) + len(raw.report), raw.n_unlabelled) == (30, (0, 0))


def test_an_empty_cell_is_missing(tmp_path):
    (tmp_path / "a.csv").write_text("sentence,label\n" + "a,yes\nb,no\nc,\n" * 10)
    raw = opened(tmp_path / "a.csv")
    assert (len(raw.train) + len(raw.report), raw.n_unlabelled, raw.labels) == (20, (10, 0), ("no", "yes"))


@pytest.mark.parametrize("classes", [(-1, 1), (-1, 0, 1)])
def test_minus_one_is_a_class(tmp_path, classes):
    Rows.from_dict({"x": [float(i) for i in range(60)], "label": [*classes] * (60 // len(classes))}).to_csv(
        tmp_path / "a.csv"
    )
    raw = opened(tmp_path / "a.csv", "tabular-classification")
    assert (raw.labels, len(raw.train) + len(raw.report)) == (tuple(map(str, classes)), 60)


def test_a_split_of_minus_ones_alone_has_no_labels(tmp_path):
    for split, labels in (("train", [0, 1] * 10), ("test", [-1] * 4)):
        Rows.from_dict({"text": [f"{split} {i}" for i in range(len(labels))], "label": labels}).to_parquet(
            tmp_path / f"{split}.parquet"
        )
    raw = opened(tmp_path)
    assert (raw.labels, raw.report_split) == (("0", "1"), "10% of train")


def test_two_columns_of_one_name_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("x,label,label\n" + "1,yes,1\n2,no,0\n" * 10)
    with pytest.raises(InputError, match=r"a\.csv: two columns are called 'label'; rename or remove one of them"):
        opened(tmp_path / "a.csv")
