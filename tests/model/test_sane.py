"""Configs and tokenizers that are damaged, or ask for networks of any size, end in one line."""

import json
import os
import shutil
from pathlib import Path

import pytest

from compressor.errors import InputError
from compressor.model import load
from compressor.model.artifact import load_model
from compressor.model.checkpoint import Source
from compressor.nets.tabular import Features

TASK = "text-classification"
CUT = {"format": 1, "widths": {"layer.0.ffn": 3}, "layers": [0, 1]}


@pytest.fixture
def checkpoint(bert_folder, tmp_path):
    return Path(shutil.copytree(bert_folder, tmp_path / "bert"))


def change(folder, **settings):
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"architectures": [None]}, "architectures[0] should be text, found None"),
        ({"architectures": "Bert"}, "architectures should be a list, found 'Bert'"),
        ({"dtype": "float33"}, "not a usable config ("),
        ({"dtype": [1]}, "not a usable config ("),
        ({"id2label": ["a", "b"]}, "id2label should be a mapping, found ['a', 'b']"),
        ({"compressor": 3}, "compressor should be a mapping, found 3"),
        ({"compressor": {"format": 1}}, "compressor should have the keys format, widths and layers"),
        ({"compressor": {**CUT, "widths": [1]}}, "compressor.widths should be a mapping, found [1]"),
        ({"compressor": {**CUT, "widths": {"layer.0.ffn": -3}}}, "layer.0.ffn: cannot have -3 units"),
        ({"compressor": {**CUT, "widths": {"nowhere": 3}}}, "no width 'nowhere'"),
        ({"num_hidden_layers": 10**9}, "'num_hidden_layers' is 1e+09, no network has more than 10,000"),
        ({"image_size": 8000}, "images of 8000 have 250,000 patches, more than 65,536"),
        ({"hidden_size": 10**12}, "'hidden_size' is 1e+12, no network has more than 2,147,483,648"),
    ],
)
def test_a_damaged_config(checkpoint, settings, said):
    change(checkpoint, **settings)
    with pytest.raises(InputError) as caught:
        load(checkpoint)
    assert str(caught.value).startswith(str(checkpoint))
    assert said in str(caught.value)


def test_a_new_network_that_does_not_fit_into_memory():
    config = {"model_type": "mlp", "hidden_sizes": [10**7, 10**7]}
    features = Features(("a",), (0.0,), (1.0,))
    with pytest.raises(InputError, match=r"^model\.config: its weights take 400,000\.\d GB, this machine has "):
        load_model(Source(config=config, task="tabular-classification"), ("no", "yes"), features)


@pytest.mark.parametrize(
    "text", ['{"version": "1.0"}', "", "[" * 10_000, '{"post_processor": {"type": 1}, "model": 2}']
)
def test_a_damaged_tokenizer(checkpoint, text):
    (checkpoint / "tokenizer.json").write_text(text)
    with pytest.raises(InputError, match="no tokenizer or image processor can be loaded"):
        load_model(Source(checkpoint=str(checkpoint), task=TASK), None)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "vocab.txt"])
def test_a_pipe_is_not_read(checkpoint, name):
    (checkpoint / name).unlink(missing_ok=True)
    os.mkfifo(checkpoint / name)
    with pytest.raises(InputError, match=rf"{name}: no regular file; fetch it again$"):
        load_model(Source(checkpoint=str(checkpoint), task=TASK), None)
