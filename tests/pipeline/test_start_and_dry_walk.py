"""What a run starts from: its key changes with the model and the data, and what does not fit is found at once."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from compressor.errors import InputError, RecipeError
from compressor.pipeline.start import begin, walk_dry
from compressor.recipe import parse


@pytest.fixture
def recipe(bert_folder, sentences_csv):
    return {
        "model": {"checkpoint": str(bert_folder), "task": "text-classification"},
        "data": {"dataset": str(sentences_csv), "held_out": 0.2},
        "stages": [{"stage": "drop_layers", "n_layers": 1}, {"stage": "shrink"}],
    }


def test_the_key_changes_with_seed_data_and_weights_and_not_with_the_place(recipe, bert_folder, tmp_path):
    copied = shutil.copytree(bert_folder, tmp_path / "copied")
    changed = shutil.copytree(bert_folder, tmp_path / "changed")
    weights = load_file(changed / "model.safetensors")
    weights["classifier.bias"][0] += 1
    save_file(weights, changed / "model.safetensors", {"format": "pt"})
    key = begin(parse(recipe)).key
    assert begin(parse(recipe, [f"model.checkpoint={copied}"])).key == key
    others = [f"model.checkpoint={changed}", "seed=1", "data.held_out=0.1"]
    assert len({key, *(begin(parse(recipe, [other])).key for other in others)}) == 4


def test_weights_that_are_no_numbers_are_refused(recipe, bert_folder, tmp_path):
    broken = shutil.copytree(bert_folder, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    weights["classifier.bias"][0] = torch.nan
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"model\.checkpoint: 'classifier\.bias' has NaN or infinite weights"):
        begin(parse(recipe, [f"model.checkpoint={broken}"]))


def test_a_dry_walk_gives_the_size_after_each_stage_and_leaves_the_model(recipe):
    start = begin(parse(recipe))
    walked = list(walk_dry(parse(recipe), start))
    assert [step["stage"] for step in walked] == ["drop_layers", "shrink"]
    assert walked[0]["n_params"] == walked[1]["n_params"] < start.summary()["model"]["n_params"]
    assert start.model.layers == (0, 1)


def test_a_stage_that_does_not_fit_is_named(recipe):
    recipe["stages"].insert(1, {"stage": "finetune", "retrain": {"steps": 1, "freeze": ["nothing"]}})
    with pytest.raises(RecipeError, match=r"^stages\[1\] \(finetune\): freeze: no parameter matches 'nothing'"):
        list(walk_dry(parse(recipe), begin(parse(recipe))))
