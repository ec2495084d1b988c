"""Checkpoints are found, hashed and looked over before any weight is read."""

import json
import shutil

import pytest

from compressor.errors import InputError
from compressor.model.checkpoint import Source, check_weights, digest, fetch, is_fine_tuned, read_config

TEXT = "text-classification"


def source(checkpoint, **more):
    return Source(checkpoint=str(checkpoint), task=TEXT, **more)


@pytest.fixture
def folder(bert_folder, tmp_path):
    """A copy of the tiny BERT that a test may damage."""
    return shutil.copytree(bert_folder, tmp_path / "bert")


def edit_config(folder, **settings):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({}, "give either 'checkpoint' or 'config'"),
        ({"checkpoint": "x", "config": {"model_type": "vit"}}, "give either 'checkpoint' or 'config'"),
        ({"config": {"hidden_size": 8}}, "'config' needs a 'model_type'"),
        ({"config": {"model_type": "bert"}}, "'config' of a text model needs a 'processor'"),
        ({"checkpoint": "x", "processor": "y"}, "'processor' goes with 'config'"),
    ],
)
def test_a_source_has_one_start(keys, said):
    with pytest.raises(ValueError, match=said):
        Source(task=TEXT, **keys)


def test_a_local_folder_is_itself(bert_folder):
    assert fetch(source(bert_folder)) == bert_folder
    assert fetch(Source(config={"model_type": "vit"}, task="image-classification")) is None


def test_the_digest_follows_content_and_no_path(bert_folder, folder):
    assert digest(source(bert_folder)) == digest(source(folder))
    edit_config(folder, hidden_dropout_prob=0.2)
    assert digest(source(bert_folder)) != digest(source(folder))


def test_the_digest_of_a_config_covers_its_processor(bert_folder, folder):
    def scratch(processor):
        return digest(Source(config={"model_type": "bert"}, processor=str(processor), task=TEXT))

    (folder / "model.safetensors").unlink()
    assert scratch(bert_folder) == scratch(folder)
    (folder / "tokenizer.json").write_text("{}")
    assert scratch(bert_folder) != scratch(folder)


def test_a_head_makes_it_fine_tuned(folder):
    assert is_fine_tuned(source(folder))
    edit_config(folder, architectures=["BertModel"])
    assert not is_fine_tuned(source(folder))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model_type": "berd"}, "model: transformers has no family 'berd'; did you mean 'bert'"),
        ({"model_type": None}, "model: transformers has no family None"),
        ({"hidden_size": "wide"}, "config.json: not a usable config"),
    ],
)
def test_configs_that_cannot_serve_are_refused(folder, settings, said):
    edit_config(folder, **settings)
    with pytest.raises(InputError, match=said):
        read_config(folder)


def test_a_damaged_or_missing_config_is_refused(folder):
    (folder / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config.json: not a usable config"):
        read_config(folder)
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match=r"no config.json in this folder; give the folder of a checkpoint"):
        read_config(folder)


def test_a_pickle_is_never_opened(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").symlink_to("nothing-that-opens")
    with pytest.raises(InputError, match=r"no model.safetensors, found only 'pytorch_model.bin'; pickles are never"):
        check_weights(folder)


@pytest.mark.parametrize("n_bytes", [0, 7, 400, -1])
def test_truncated_weights_are_refused(folder, n_bytes):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:n_bytes])
    with pytest.raises(InputError, match=r"model.safetensors: damaged or truncated \(.*\); fetch it again"):
        check_weights(folder)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("./nowhere", "model.checkpoint: no such folder, got './nowhere'; give a local folder or a hub id"),
        ("a/b/c", "model.checkpoint: no such folder, got 'a/b/c'"),
        ("acme/nowhere", "not reachable at .*; give a local .* set HF_ENDPOINT .* compress --recipe digits_l1inf.yaml"),
        ("no hub id", "not reachable at .*, got 'no hub id'"),
    ],
)
def test_what_is_not_there_is_one_clear_line(tmp_path, monkeypatch, name, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=said) as caught:
        fetch(source(name))
    assert "\n" not in str(caught.value)
