"""Columns are found where the features leave no doubt, and asked for where they do."""

from datetime import date
from decimal import Decimal

import pytest
from datasets import ClassLabel, Dataset, Features, Image, Value

from compressor.data.columns import find_columns, label_words
from compressor.errors import InputError
from compressor.inputs.columns import Columns

TEXT, IMAGE = "text-classification", "image-classification"
WORD, NUMBER, CLASS = Value("string"), Value("int64"), ClassLabel(names=["no", "yes"])


def rows(**features):
    return Dataset.from_dict({name: [] for name in features}, Features(**features))


@pytest.mark.parametrize(
    ("features", "task", "found"),
    [
        ({"idx": NUMBER, "sentence": WORD, "label": CLASS}, TEXT, (("sentence",), "label")),
        ({"title": WORD, "text": WORD, "label": NUMBER}, TEXT, (("text",), "label")),
        ({"review": WORD, "verdict": CLASS}, TEXT, (("review",), "verdict")),
        ({"words": WORD, "label": WORD}, TEXT, (("words",), "label")),
        ({"sentence2": WORD, "sentence1": WORD, "label": CLASS}, TEXT, (("sentence1", "sentence2"), "label")),
        ({"premise": WORD, "hypothesis": WORD, "label": CLASS}, TEXT, (("premise", "hypothesis"), "label")),
        ({"text": Value("large_string"), "label": CLASS}, TEXT, (("text",), "label")),
        ({"img": Image(), "label": CLASS}, IMAGE, (("img",), "label")),
    ],
)
def test_columns_are_found(features, task, found):
    assert find_columns(rows(**features), Columns(), task) == found


def test_named_columns_win():
    table = rows(sentence1=WORD, sentence2=WORD, label=CLASS, other=CLASS)
    assert find_columns(table, Columns(text="sentence1", label="other"), TEXT) == (("sentence1",), "other")
    pair = Columns(text="sentence2", text_pair="sentence1")
    assert find_columns(table, pair, TEXT) == (("sentence2", "sentence1"), "label")


@pytest.mark.parametrize(
    ("features", "columns", "task", "said"),
    [
        ({"title": WORD, "body": WORD, "label": CLASS}, {}, TEXT, "columns.text: several columns fit, 'title', 'body'"),
        ({"title": WORD, "body": WORD}, {}, TEXT, "columns.label: no column fits, out of 'title', 'body'"),
        (
            {"text": WORD, "fine": CLASS, "coarse": CLASS},
            {},
            TEXT,
            "columns.label: several columns fit, 'fine', 'coarse'",
        ),
        ({"text": WORD, "label": CLASS}, {"text": "txt"}, TEXT, "columns.text: no such column, got 'txt'"),
        ({"text": NUMBER, "label": CLASS}, {}, TEXT, "'text' cannot be used for text-classification"),
        ({"text": WORD, "label": CLASS}, {}, IMAGE, "columns.image: no column fits"),
        ({"path": WORD, "label": CLASS}, {"image": "path"}, IMAGE, "'path' cannot be used for image-classification"),
        ({"img": Image(), "label": CLASS}, {"text": "img"}, IMAGE, "columns.text: not used in image-classification"),
    ],
)
def test_doubt_is_an_error(features, columns, task, said):
    with pytest.raises(InputError, match=said):
        find_columns(rows(**features), Columns(**columns), task)


def test_a_pair_needs_its_first_text():
    with pytest.raises(ValueError, match="'text_pair' needs 'text'"):
        Columns(text_pair="hypothesis")


@pytest.mark.parametrize(
    ("values", "feature", "words"),
    [
        ([1, 0, -1, None], CLASS, ["yes", "no", None, None]),
        ([3, -1, None], NUMBER, ["3", "-1", None]),
        ([1.0, 0.0, None], Value("float64"), ["1", "0", None]),
        ([True, False], Value("bool"), ["True", "False"]),
        (["pos", "neg", None], WORD, ["pos", "neg", None]),
        (["None", "", "  "], WORD, ["None", None, None]),
        ([Decimal("2.0"), None], Value("decimal128(3, 1)"), ["2", None]),
    ],
)
def test_labels_in_words(values, feature, words):
    table = Dataset.from_dict({"label": values}, Features(label=feature))
    assert label_words(table, "label") == words


@pytest.mark.parametrize("values", [[0.5, 1.0], [[0, 1], [1]], [date(2020, 1, 1)], [b"yes"]])
def test_scores_and_lists_are_no_classes(values):
    with pytest.raises(InputError, match="one class per row is needed"):
        label_words(Dataset.from_dict({"label": values}), "label")
