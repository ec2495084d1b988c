import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from pydantic import ValidationError

from compressor.data import example_inputs
from compressor.errors import InputError, ParityError
from compressor.model import Source, load_model, logits_of
from compressor.stages import export
from compressor.train import Context

OPTIONS = export.Options(stage="export")
METADATA = {"producer": "compressor", "version": "0.0", "source": "hub/name", "recipe": "0123"}
SMALL = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 12}


def context(folder, seed=0):
    return Context(folder, "key", seed, data=None, originals=None, metadata=METADATA)


def bert(folder):
    torch.manual_seed(0)
    return load_model(Source(checkpoint=str(folder), task="text-classification"), None)


def distilbert(folder):
    config = {"model_type": "distilbert", "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 12, "vocab_size": 32}
    torch.manual_seed(0)
    model = load_model(Source(config=config, processor=str(folder), task="text-classification"), ("no", "yes"))
    task = dataclasses.replace(model.task, input_names=("input_ids", "attention_mask"))
    return dataclasses.replace(model, task=task)


def vit(folder):
    config = {"model_type": "vit", "image_size": 8, "patch_size": 4, "num_channels": 1, **SMALL}
    torch.manual_seed(0)
    return load_model(Source(config=config, task="image-classification"), ("no", "yes"))


@pytest.fixture
def model(bert_folder):
    return bert(bert_folder)


@pytest.mark.parametrize("opset", ["auto", 18])
@pytest.mark.parametrize("build", [bert, distilbert, vit])
def test_onnxruntime_gives_the_logits_of_torch_at_other_shapes_and_padding(build, opset, bert_folder, tmp_path):
    model = build(bert_folder)
    graph = export.run(model, export.Options(stage="export", opset=opset), context(tmp_path))
    for batch_size, length in ((1, 1), (2, 5), (7, 19)):
        generator = torch.Generator().manual_seed(length)
        rows = example_inputs(model.task, model.net.config, batch_size, length, generator)
        torch.testing.assert_close(logits_of(graph)(rows), logits_of(model)(rows), rtol=1e-5, atol=1e-6)


def test_names_and_axes_are_what_users_expect(model, tmp_path):
    graph = export.run(model, OPTIONS, context(tmp_path))
    session = onnxruntime.InferenceSession(graph.path)
    shapes = {node.name: node.shape for node in (*session.get_inputs(), *session.get_outputs())}
    tokens = ["batch", "length"]
    assert shapes == {
        "input_ids": tokens,
        "attention_mask": tokens,
        "token_type_ids": tokens,
        "logits": ["batch", 2],
    }
