"""Datasets are read from files, folders and scikit-learn; splits and digests follow their rules."""

import json
import shutil

import pytest
from datasets import ClassLabel, Features, Value
from datasets import Dataset as Rows
from datasets import Image as ImageFeature
from PIL import Image

from compressor.data.dataset import Dataset, open_dataset
from compressor.errors import InputError

TEXT, IMAGE = "text-classification", "image-classification"


def opened(dataset, task=TEXT, **options):
    return open_dataset(Dataset(dataset=str(dataset), **options), task)


def write_splits(folder, **labels):
    """Write one parquet file per split, its labels as given; -1 means unlabelled."""
    features = Features(text=Value("string"), label=ClassLabel(names=["negative", "positive"]))
    for split, values in labels.items():
        rows = {"text": [f"{split} {i}" for i in range(len(values))], "label": values}
        Rows.from_dict(rows, features).to_parquet(folder / f"{split}.parquet")
    return folder


def test_a_csv_file_gives_a_tenth_of_its_rows_to_the_report(sentences_csv):
    raw = opened(sentences_csv)
    assert (raw.columns, raw.label, raw.labels) == (("sentence",), "label", ("negative", "positive"))
    assert (len(raw.train), len(raw.report), raw.report_split) == (72, 8, "10% of train")
    assert not set(raw.train["sentence"]) & set(raw.report["sentence"])
    assert raw.report["sentence"][:] == opened(sentences_csv).report["sentence"][:]


def test_a_loading_script_is_refused_and_never_run(tmp_path):
    folder = tmp_path / "films"
    folder.mkdir()
    (folder / "films.py").write_text(f"import pathlib\npathlib.Path({str(tmp_path / 'ran')!r}).touch()\n")
    with pytest.raises(InputError, match=r"^data\.dataset: cannot be read, .*scripts are no longer supported"):
        opened(folder)
    assert not (tmp_path / "ran").exists()


def test_json_lines_and_parquet_give_the_same_rows_and_the_same_digest(sentences_csv, tmp_path):
    rows = Rows.from_csv(str(sentences_csv))
    rows.to_parquet(tmp_path / "reviews.parquet")
    (tmp_path / "reviews.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    digests = {
        opened(file).digest for file in (sentences_csv, tmp_path / "reviews.parquet", tmp_path / "reviews.jsonl")
    }
    assert len(digests) == 1


def test_the_digest_follows_content_and_no_path(tmp_path):
    (tmp_path / "here").mkdir()
    here = write_splits(tmp_path / "here", train=[0, 1] * 4, validation=[0, 1])
    there = shutil.copytree(here, tmp_path / "there")
    assert opened(here).digest == opened(there).digest
    write_splits(there, validation=[1, 1])
    assert opened(here).digest != opened(there).digest


@pytest.mark.parametrize(
    ("splits", "report", "n_rows"),
    [
        ({"train": [0, 1] * 10, "validation": [0, 1], "test": [1, 0, 1]}, "validation", 2),
        ({"train": [0, 1] * 10, "validation": [-1, -1], "test": [1, 0, 1]}, "test", 3),
        ({"train": [0, 1] * 10, "test": [-1, -1]}, "10% of train", 2),
    ],
)
def test_the_reported_split_is_the_first_labelled_one(tmp_path, splits, report, n_rows):
    raw = opened(write_splits(tmp_path, **splits))
    assert (raw.report_split, len(raw.report)) == (report, n_rows)


def test_rows_without_a_label_are_left_out(tmp_path):
    raw = opened(write_splits(tmp_path, train=[0, -1, 1, 1], validation=[-1, 1]))
    assert (len(raw.train), raw.report["text"][:]) == (3, ["validation 1"])


@pytest.mark.parametrize(
    ("splits", "options", "said"),
    [
        ({"train": [-1, -1]}, {}, "data.train_split: no row of 'train' has a label"),
        (
            {"train": [0, 1], "test": [-1]},
            {"report_split": "test"},
            "report_split: missing or without labels, got 'test'",
        ),
        ({"train": [0, 1]}, {"report_split": "dev"}, "got 'dev'; choose a labelled one from 'train'"),
        ({"test": [0, 1]}, {}, "data.train_split: no such split, got 'train'; choose from 'test'"),
        ({"train": [0]}, {}, "1 labelled rows are too few"),
    ],
)
def test_splits_that_cannot_serve_are_refused(tmp_path, splits, options, said):
    with pytest.raises(InputError, match=said):
        opened(write_splits(tmp_path, **splits), **options)


def test_the_report_is_not_trained_on():
    with pytest.raises(ValueError, match="'report_split' is the training split"):
        Dataset(dataset="reviews.csv", report_split="train")


def test_an_image_folder_is_read(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "train" / name).mkdir(parents=True)
        for i in range(5):
            Image.new("RGB", (4, 4), (i, 0, 0)).save(tmp_path / "train" / name / f"{i}.png")
    raw = opened(tmp_path, IMAGE)
    assert (raw.columns, raw.labels, len(raw.train)) == (("image",), ("cat", "dog"), 9)
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    assert opened(moved, IMAGE).digest == raw.digest


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda file: file.write_bytes(file.read_bytes()[:60]), r"dog/3\.png': the image cannot be read"),
        (lambda file: file.write_text("not found"), r"dog/3\.png': the image cannot be read \(not an image\)"),
    ],
)
def test_a_broken_image_is_named(tmp_path, spoil, said):
    for name in ("cat", "dog"):
        (tmp_path / "train" / name).mkdir(parents=True)
        for i in range(5):
            Image.new("RGB", (40, 40), (i, 0, 0)).save(tmp_path / "train" / name / f"{i}.png")
    spoil(tmp_path / "train/dog/3.png")
    with pytest.raises(InputError, match=rf"^data: row 8 of train, counted from 0, .*{said}"):
        opened(tmp_path, IMAGE)


def test_a_missing_image_is_named(tmp_path):
    images = [None if i == 7 else Image.new("L", (4, 4), i) for i in range(10)]
    features = Features(image=ImageFeature(), label=ClassLabel(names=["cat", "dog"]))
    Rows.from_dict({"image": images, "label": [0, 1] * 5}, features).to_parquet(tmp_path / "train.parquet")
    with pytest.raises(InputError, match=r"^data: row 7 of train, counted from 0: there is no image; repair"):
        opened(tmp_path, IMAGE)


def test_digits_need_no_network():
    raw = opened("sklearn:digits", IMAGE)
    assert (len(raw.train), len(raw.report), raw.report_split) == (1437, 360, "validation")
    assert raw.labels == tuple("0123456789")
    counts = [raw.report["label"][:].count(digit) for digit in range(10)]
    assert max(counts) - min(counts) <= 2
    assert raw.train[0]["image"].size == (8, 8)
    assert raw.digest == opened("sklearn:digits", IMAGE).digest


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("./nowhere", r"data.dataset: no such folder, got './nowhere'"),
        ("reviews.xlsx", "cannot read a .xlsx file, got .*reviews.xlsx'; give '.csv', '.json', '.jsonl', '.parquet'"),
        ("broken.parquet", "data.dataset: cannot be read, got .*broken.parquet"),
        ("empty", "data.dataset: cannot be read, got .*empty"),
        (
            "stanfordnlp/nowhere",
            "not reachable at .*; give a local .* set HF_ENDPOINT .* compress --recipe digits_l1inf.yaml",
        ),
    ],
)
def test_what_cannot_be_read_is_one_clear_line(tmp_path, monkeypatch, name, said):
    (tmp_path / "reviews.xlsx").write_text("x")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 cut short")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=said) as caught:
        opened(name)
    assert "\n" not in str(caught.value)


def test_real_data_of_sst2(shared):
    raw = opened(shared / "data" / "sst2")
    assert (raw.columns, raw.labels) == (("sentence",), ("negative", "positive"))
    assert (len(raw.train), len(raw.report), raw.report_split) == (67349, 872, "validation")


def test_real_images_of_cifar10(shared):
    raw = opened(shared / "data" / "cifar10", IMAGE)
    assert (raw.columns, len(raw.labels), raw.report_split) == (("img",), 10, "test")
