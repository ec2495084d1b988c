"""Labels are matched by name or by index, and everything else is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.data.labels import Labels, from_values, has_real_names, match, rename
from compressor.errors import InputError

WORDS = Labels(("negative", "positive"), is_ordered=True)


def test_same_names_match_whatever_their_order_and_case():
    assert match(WORDS, ["POSITIVE", "Negative"]) == {"negative": 1, "positive": 0}


def test_names_that_differ_only_in_case_are_kept_apart():
    assert match(Labels(("a", "A"), is_ordered=True), ["A", "a"]) == {"a": 1, "A": 0}
    with pytest.raises(InputError, match="differ"):
        match(Labels(("a", "A"), is_ordered=True), ["a", "b"])


@given(st.permutations([f"class {i}" for i in range(6)]))
def test_a_name_always_meets_its_own_output(outputs):
    found = match(Labels(tuple(f"class {i}" for i in range(6)), is_ordered=True), outputs)
    assert all(outputs[index] == name for name, index in found.items())


@pytest.mark.parametrize("outputs", [["LABEL_0", "LABEL_1"], ["0", "1"]])
def test_position_decides_where_the_model_has_no_names(outputs):
    assert match(WORDS, outputs) == {"negative": 0, "positive": 1}


def test_position_decides_where_the_dataset_has_no_names():
    assert match(from_values({"1", "0"}), ["negative", "positive"]) == {"0": 0, "1": 1}


@pytest.mark.parametrize(
    ("labels", "outputs", "said"),
    [
        (WORDS, ["bad", "good"], "'negative', 'positive', the model 'bad', 'good'; map them with data.labels"),
        (from_values({"neg", "pos"}), ["LABEL_0", "LABEL_1"], "neither names nor positions"),
        (from_values({"1", "2"}), ["negative", "positive"], "neither names nor positions"),
        (WORDS, ["negative", "neutral", "positive"], "2 labels for a head of 3 outputs"),
        (from_values({"0", "1", "2"}), ["LABEL_0", "LABEL_1"], "3 labels for a head of 2 outputs"),
    ],
)
def test_everything_else_is_refused_with_both_lists(labels, outputs, said):
    with pytest.raises(InputError, match=said):
        match(labels, outputs)


def test_ten_integers_are_sorted_as_numbers():
    assert from_values({str(i) for i in range(11)}).names == tuple(str(i) for i in range(11))


def test_a_map_leads_to_names_or_to_positions():
    assert match(rename(WORDS, {"negative": "bad", "positive": "good"})[0], ["good", "bad"]) == {"bad": 1, "good": 0}
    classes, renamed = rename(WORDS, {"Negative": "1", "Positive": "0"})
    assert match(classes, ["happy", "sad"])[renamed["negative"]] == 1


def test_a_map_must_name_every_label():
    with pytest.raises(InputError, match=r"labels 'negative', 'positive' once, got 'negative'"):
        rename(WORDS, {"negative": "bad"})


def test_real_names_are_words():
    assert has_real_names(["0", "other"])
    assert not has_real_names(["0", "LABEL_1"])


def test_a_map_keeps_the_order_of_the_data():
    labels, renamed = rename(from_values({"0", "1"}), {"0": "not hate", "1": "hate"})
    assert (labels.names, renamed) == (("not hate", "hate"), {"0": "not hate", "1": "hate"})
    labels, _ = rename(from_values({"neg", "pos"}), {"neg": "1", "pos": "0"})
    assert labels.names == ("0", "1")  # numbers are places


def test_minus_one_is_a_class_like_any_other():
    assert from_values({"1", "-1", "0", "10"}).names == ("-1", "0", "1", "10")
    with pytest.raises(InputError, match="neither names nor positions match the labels, the dataset has '-1', '1'"):
        match(from_values({"-1", "1"}), ["LABEL_0", "LABEL_1"])


def test_truth_values_have_an_order_and_names():
    labels = from_values({"True", "False"})
    assert labels.names == ("False", "True")
    assert match(labels, ["LABEL_0", "LABEL_1"]) == {"False": 0, "True": 1}
    assert rename(labels, {"true": "spam", "false": "ham"})[0].names == ("ham", "spam")
