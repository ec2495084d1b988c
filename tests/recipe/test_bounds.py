"""Recipes that no run could ever do, or nobody could read, are refused in a few lines before anything is loaded."""

import os

import pytest

from compressor.errors import RecipeError
from compressor.recipe import load_recipe
from compressor.recipe.schema import parse

RETRAIN = {"steps": 1}
PROJECT = {"stage": "project", "column_sparsity": 0.5, "retrain": RETRAIN}


def recipe(**more):
    model = {"checkpoint": "bert", "task": "text-classification"}
    return {"model": model, "data": {"dataset": "a.csv"}, "stages": [PROJECT], **more}


def refused(text, tmp_path):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(tmp_path / "a.yaml")
    return str(caught.value).replace(str(tmp_path), "").splitlines()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"stages": [{**PROJECT, "rounds": 10**9}]}, "stages[0].rounds: should be less than or equal to 1000"),
        ({"stages": [PROJECT] * 101}, "stages: "),
        ({"stages": [{**PROJECT, "retrain": {"steps": 10**12}}]}, "stages[0].retrain.steps: should be less than"),
        ({"stages": [{**PROJECT, "retrain": {"epochs": 1e9}}]}, "stages[0].retrain.epochs: should be less than"),
        ({"data": {"dataset": "a", "augment": {"copies": 10**9}}}, "data.augment.copies: should be less than"),
        ({"bench": {"threads": [99_999]}}, "bench.threads[0]: should be less than or equal to 512"),
        ({"bench": {"batch_sizes": [10**9]}}, "bench.batch_sizes[0]: should be less than or equal to 65536"),
        ({"bench": {"lengths": [10**9]}}, "bench.lengths[0]: should be less than or equal to 1048576"),
    ],
)  # fmt: skip
def test_numbers_without_end(more, said):
    with pytest.raises(RecipeError) as caught:
        parse(recipe(**more))
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize("text", ["a: " + "[" * 5_000 + "]" * 5_000, "\n".join(" " * i + "a:" for i in range(100))])
def test_a_text_that_is_nested_like_a_bomb(tmp_path, text):
    [line] = refused(text, tmp_path)
    assert "nested deeper than 30 levels; no recipe is like that" in line


def test_thousands_of_unknown_keys_are_counted(tmp_path):
    lines = refused("seed: 1\n" + "".join(f"key{i}: 1\n" for i in range(5_000)), tmp_path)
    assert len(lines) == 21
    assert lines[0].startswith("/a.yaml:1: model: required key is missing")
    assert lines[-1].endswith("more problems")
    assert refused("".join(f"key{i}: 1\n" for i in range(20_000)), tmp_path) == [
        "/a.yaml:10001: more than 20,000 values; no recipe is like that"
    ]


def test_a_text_that_is_too_large_or_never_ends(tmp_path):
    [line] = refused("# " + "x" * 2**20, tmp_path)
    assert "it has more than 1,048,576 bytes" in line
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(RecipeError, match="no such file or packaged recipe"):
            load_recipe(path)
