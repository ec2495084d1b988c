"""What a run starts from: lengths that fit the network, a tokenizer that cuts like the data, and what was read."""

import json
import shutil
from typing import Any

import pytest

import compressor
from compressor.errors import GateMissed, RecipeError
from compressor.pipeline.start import begin
from compressor.recipe import parse
from compressor.report import text

STAGES = [{"stage": "shrink"}]


def recipe(checkpoint, dataset, data: Any = None, **more):
    model = {"checkpoint": str(checkpoint), "task": "text-classification"}
    data = {"dataset": str(dataset), "held_out": 0.1, **(data or {})}
    return parse({"model": model, "data": data, "stages": STAGES, **more})


@pytest.fixture
def short(bert_folder, tmp_path):
    """Copy the checkpoint, whose tokenizer then reads 64 tokens at most."""
    folder = shutil.copytree(bert_folder, tmp_path / "short")
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "model_max_length": 64}))
    return folder


def test_default_lengths_are_those_that_the_network_reads(short, bert_folder, sentences_csv):
    assert begin(recipe(short, sentences_csv)).recipe.bench.lengths == (32,)
    assert begin(recipe(bert_folder, sentences_csv)).recipe.bench.lengths == (32, 128)


def test_a_length_that_someone_wrote_must_fit(short, sentences_csv):
    with pytest.raises(RecipeError, match=r"bench\.lengths: the network reads at most 64 tokens, got 100"):
        begin(recipe(short, sentences_csv, bench={"lengths": [8, 100]}))


def test_the_tokenizer_of_the_result_cuts_as_the_data_are_cut(bert_folder, sentences_csv):
    start = begin(recipe(bert_folder, sentences_csv, {"max_length": 16}))
    assert start.model.task.processor.model_max_length == 16
    assert start.recipe.bench.lengths == (32, 128)


def test_check_says_what_was_read(bert_folder, tmp_path):
    rows = [f"the film is {'very ' * (i % 6)}good,{i},{('negative', 'positive')[i % 2]}" for i in range(60)]
    (tmp_path / "a.csv").write_text("\n".join(["sentence,idx,label", *rows]) + "\n")
    plan = compressor.check(recipe(bert_folder, tmp_path / "a.csv"))
    assert plan["dataset"]["left_out"] == {"idx": "int64"}
    assert plan["dataset"]["n_shared"] == 6
    assert plan["dataset"]["splits"]["train"]["n_duplicates"] == 48
    gap = plan["model"]["padding_gap"]
    assert gap is not None
    assert gap < 1e-4
    said = text.plan(plan)
    assert "data: 6 of 6 rows of 10% of train are in train too" in said
    assert "classes in train: negative 2" in said


def test_a_missed_gate_carries_the_report():
    assert GateMissed("gates: missed").report is None
    report = {"name": "run"}
    assert GateMissed("gates: missed", report).report is report
