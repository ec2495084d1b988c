"""What a checkpoint may name: weights beside it, and nothing that is fetched, unpickled or read from elsewhere."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from compressor.errors import InputError
from compressor.model import load_model
from compressor.model.checkpoint import Source, check_weights, digest, read_config
from compressor.pipeline.steps import steps_of
from compressor.recipe import parse
from compressor.rundir import RunDir

TEXT = "text-classification"
SHARD = "part.safetensors"


@pytest.fixture
def folder(bert_folder, tmp_path):
    """A copy of the tiny BERT that a test may change."""
    return shutil.copytree(bert_folder, tmp_path / "bert")


@pytest.fixture
def sharded(folder):
    """The same, its weights in a file that only an index names."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").rename(folder / SHARD)
    write_index(folder, dict.fromkeys(weights, SHARD))
    return folder


def write_index(folder, places):
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def edit_config(folder, **settings):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


def loaded(folder):
    return load_model(Source(checkpoint=str(folder), task=TEXT), None).net


def test_weights_that_an_index_names_are_read_and_belong_to_the_digest(sharded, bert_folder):
    assert torch.equal(loaded(sharded).classifier.weight, loaded(bert_folder).classifier.weight)
    source = Source(checkpoint=str(sharded), task=TEXT)
    before = digest(source)
    weights = load_file(sharded / SHARD)
    weights["classifier.bias"] += 1
    save_file(weights, sharded / SHARD, {"format": "pt"})
    assert digest(source) != before


@pytest.mark.parametrize(
    "name", ["a.pt", "a.bin", "../part.safetensors", "/tmp/part.safetensors", "sub/part.safetensors", 7, None, ""]
)
def test_an_index_that_names_anything_else_is_refused(sharded, name, monkeypatch):
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("a pickle was opened"))
    places = dict.fromkeys(load_file(sharded / SHARD), SHARD)
    (sharded / "a.pt").write_bytes(b"pickle")
    write_index(sharded, places | {"classifier.bias": name})
    with pytest.raises(InputError, match=r"index.json: (weights must be .* beside it, found|not a usable)"):
        loaded(sharded)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": ["b"]}}'])
def test_a_damaged_index_is_refused(sharded, text):
    (sharded / "model.safetensors.index.json").write_text(text)
    with pytest.raises(InputError, match=r"index.json: "):
        check_weights(sharded)


def test_a_file_that_only_the_index_has_is_missing(sharded):
    write_index(sharded, {"classifier.bias": "other.safetensors"})
    with pytest.raises(InputError, match=r"index.json: 'other.safetensors' is not there; fetch the folder again"):
        check_weights(sharded)


@pytest.mark.parametrize(
    "settings",
    [
        {"attn_implementation": "owner/kernel"},
        {"_attn_implementation": "owner/kernel"},
        {"_attn_implementation_internal": "owner/kernel:function"},
        {"attn_implementation": "flash_attention_2"},
        {"attn_implementation": "paged|owner/kernel"},
        {"attn_implementation": {"": "sdpa", "text_config": "owner/kernel"}},
        {"text_config": {"attn_implementation": "owner/kernel"}},
        {"experts_implementation": "owner/kernel"},
        {"transformers_weights": "../model.safetensors"},
        {"quantization_config": {"quant_method": "gptq", "bits": 4}},
    ],
)
def test_a_config_that_asks_for_what_is_elsewhere_is_refused(folder, settings):
    edit_config(folder, **settings)
    with pytest.raises(InputError, match=r"config.json: .*; (remove the line|call them|give the float checkpoint)"):
        read_config(folder)
    config = {"model_type": "vit", **settings}
    with pytest.raises(InputError, match=r"^model.config: "):
        load_model(Source(config=config, task="image-classification"), ("no", "yes"))


@pytest.mark.parametrize("settings", [{"attn_implementation": "eager"}, {"_attn_implementation": None}])
def test_what_transformers_has_itself_is_taken(folder, settings):
    edit_config(folder, **settings)
    assert read_config(folder).model_type == "bert"


def test_the_weights_to_rewind_to_belong_to_the_key(folder, sentences_csv, tmp_path):
    stage = {"stage": "project", "column_sparsity": 0.5, "protocol": "rewind", "rewind_to": str(folder)}
    recipe = parse(
        {
            "model": {"checkpoint": str(folder), "task": TEXT},
            "data": {"dataset": str(sentences_csv)},
            "stages": [{**stage, "retrain": {"steps": 1}}],
        }
    )
    [before] = steps_of(recipe, RunDir(tmp_path), "key")
    weights = load_file(folder / "model.safetensors")
    save_file(
        weights | {"classifier.bias": weights["classifier.bias"] + 1}, folder / "model.safetensors", {"format": "pt"}
    )
    [after] = steps_of(recipe, RunDir(tmp_path), "key")
    assert before.key != after.key
