"""YAML read strictly: what a word is, and where it was said."""

import pytest

from compressor.errors import RecipeError
from compressor.recipe import strict_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4), ("1.", 1.0), (".5", 0.5), ("-3", -3), ("0x10", "0x10"), ("1_000", "1_000"), ("12:30", "12:30"),
        ("no", "no"), ("on", "on"), ("True", True), ("~", None), ("", None), ("'1'", "1"), ("[a, 1]", ["a", 1]),
        ("2020-01-01", "2020-01-01"), ("9" * 19, "9" * 19),
    ],
)  # fmt: skip
def test_a_word_is_what_yaml_1_2_says(text, value):
    document = strict_yaml.read(f"key: {text}", "my.yaml")
    assert document.data == {"key": value}
    assert type(document.data["key"]) is type(value)


def test_every_place_has_its_line():
    document = strict_yaml.read("a: 1\nb:\n  - x\n  - c: 2\n", "my.yaml")
    places = {("a",): 1, ("b",): 2, ("b", 0): 3, ("b", 1): 4, ("b", 1, "c"): 4, ("b", 1, "not there"): 4}
    assert {place: document.origin(place).text for place in places} == {
        place: f"my.yaml:{line}" for place, line in places.items()
    }


def test_an_override_carries_its_own_text_and_makes_what_is_missing():
    document = strict_yaml.read("a: {b: 1}\nc: [{d: 1}]\n", "my.yaml")
    for setting in ("a.b=2", "c[0].d={e: 3}", "f.g=[4]"):
        strict_yaml.override_(document, setting)
    assert document.problems == []
    assert document.data == {"a": {"b": 2}, "c": [{"d": {"e": 3}}], "f": {"g": [4]}}
    assert document.origin(("c", 0, "d", "e")).text == "--set c[0].d={e: 3}"
    assert document.origin(("c", 0)).text == "my.yaml:2"


def test_all_problems_come_at_once_and_in_order():
    document = strict_yaml.read("a: !tag 1\nb: 1\nb: 2\n<<: {c: 1}\n", "my.yaml")
    with pytest.raises(RecipeError) as caught:
        strict_yaml.refuse(document.problems)
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[0] for line in lines] == ["my.yaml:1", "my.yaml:3", "my.yaml:4"]
    assert "tags are not allowed, got '!tag'" in lines[0]
    assert "b: duplicate key, first given at my.yaml:2; keep one" in lines[1]


def test_without_problems_nothing_is_refused():
    strict_yaml.refuse([])


@pytest.mark.parametrize(
    ("word", "said"), [("retrian", "did you mean 'retrain'?"), ("zzz", "choose from retrain, stage")]
)
def test_a_wrong_word_gets_the_nearest_or_all(word, said):
    assert strict_yaml.nearest(word, ["retrain", "stage"]) == said
