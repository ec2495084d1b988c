"""Tracing finds what the files declare, and serves families that have none."""

import re
from pathlib import Path
from types import ModuleType
from typing import Any

import onnx
import pytest
import tiny
import torch
from tiny import arch_of, inputs, logits
from torch import nn
from transformers import AutoConfig, AutoModelForImageClassification, AutoModelForSequenceClassification

import compressor
from compressor import surgery
from compressor.archs import traced
from compressor.errors import InputError
from compressor.model import Model, Task, logits_of, pretrained
from compressor.model.outputs import n_flops
from compressor.stages import export, quantize

TEXT = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "pad_token_id": 0}
LEVIT = {"num_attention_heads": [2, 2, 2], "key_dim": [8, 8, 8], "attention_ratio": [2] * 3, "mlp_ratio": [2] * 3}
ROTARY = TEXT | {"intermediate_size": 24, "max_position_embeddings": 40}
UNKNOWN = {
    "mpnet": TEXT | {"intermediate_size": 24, "max_position_embeddings": 40},
    "opt": TEXT | {"ffn_dim": 24, "word_embed_proj_dim": 32, "max_position_embeddings": 40},
    "mobilenet_v1": {"image_size": 32, "num_channels": 1, "depth_multiplier": 0.25, "min_depth": 2},
    "levit": {"image_size": 32, "num_channels": 1, "hidden_sizes": [16, 16, 16], "depths": [1, 1, 1], **LEVIT},
    "poolformer": {"image_size": 32, "num_channels": 1, "hidden_sizes": [8, 8, 8, 8], "depths": [1, 1, 1, 1]},
    "xlm": {
        "vocab_size": 64,
        "emb_dim": 32,
        "n_layers": 2,
        "n_heads": 4,
        "pad_index": 0,
        "max_position_embeddings": 40,
    },
    "gpt_neox": ROTARY,
    "xlnet": {"vocab_size": 64, "d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 24, "pad_token_id": 0},
    "umt5": tiny.T5 | {"decoder_start_token_id": 0},
}


def layers_of(width):
    return frozenset((cut.module, cut.side) for cut in width.everywhere)


def unknown(family):
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **UNKNOWN[family])
    config.architectures = []  # transformers 5.23 fails on None where a family has two classes
    is_text = type(config) in AutoModelForSequenceClassification._model_mapping
    auto = AutoModelForSequenceClassification if is_text else AutoModelForImageClassification
    net = auto.from_config(config).eval()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    return net


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "vit", "swin", "resnet", "mobilenet_v2"])
def test_neurons_and_channels_are_found_as_they_are_declared(family):
    net = tiny.tiny(family)
    found = {layers_of(width) for width in traced.widths(net)}
    declared = [width for width in arch_of(net).widths(net) if width.kind in ("neuron", "channel") and width.exact]
    assert declared
    assert [width.name for width in declared if layers_of(width) not in found] == []


@pytest.mark.parametrize("family", ["bert", "convnext"])
def test_a_stream_through_a_normalisation_is_refused(family):
    net = tiny.tiny(family)
    inexact = [width for width in arch_of(net).widths(net) if not width.exact]
    written = {cut.module for width in inexact for cut in width.producers}
    assert written
    assert not written & {cut.module for width in traced.widths(net) for cut in width.producers}


@pytest.mark.parametrize("family", UNKNOWN)
def test_a_family_without_a_file_is_cut_saved_and_loaded(family, tmp_path):
    net = unknown(family)
    assert arch_of(net) is traced
    example = inputs(net)
    widths = traced.widths(net)
    assert widths
    for width in widths:
        dead = torch.arange(width.size) % 3 == 1
        surgery.zero_units_(net, width, dead)
        before = logits(net, example)
        surgery.shrink_(net, width, ~dead, example)
        surgery.prove_equal(before, logits(net, example), width.name)
    sizes = {width.name: width.size for width in traced.widths(net)}
    assert all(sizes[width.name] < width.size for width in widths)

    pretrained.record(net, sizes, [])
    net.save_pretrained(tmp_path)
    loaded = compressor.load(tmp_path)
    assert torch.equal(logits(loaded, example), logits(net, example))
    assert {width.name: width.size for width in traced.widths(loaded)} == sizes


def model_of(family):
    net = unknown(family)
    return Model(net, arch_of(net), Task(*tiny.task_of(net)))


@pytest.mark.slow
@pytest.mark.parametrize("family", ["levit", "poolformer"])
def test_a_network_that_ran_is_copied_exported_and_quantized(family, tmp_path):
    """LeViT keeps tensors with a gradient; onnx infers no type for the classifier of PoolFormer."""
    model = model_of(family)
    assert n_flops(model, 1, 0) == n_flops(model.copy(), 1, 0) > 0
    context = tiny.bare_context(tmp_path / "int8")
    context.folder.mkdir()
    graph = export.run(model.copy(), export.Options(stage="export"), tiny.bare_context(tmp_path))
    int8 = quantize.run(graph, quantize.Options(stage="quantize"), context)
    rows, expected = inputs(model.net), logits(model.net, inputs(model.net))
    assert float((logits_of(int8)(rows) - expected).abs().max()) < 0.1 * float(expected.abs().max())


@pytest.mark.slow
def test_rotary_tables_are_exported_at_an_older_opset_by_themselves(tmp_path):
    net = unknown("gpt_neox")
    model = Model(net, arch_of(net), Task(*tiny.task_of(net)))
    graph = export.run(model, export.Options(stage="export"), tiny.bare_context(tmp_path))
    assert onnx.load(graph.path).opset_import[0].version == 18
    rows = inputs(net, 4, 9)
    torch.testing.assert_close(logits_of(graph)(rows), logits(net, rows), rtol=1e-4, atol=1e-4)


def test_the_example_of_the_page_on_families_works_when_pasted():
    page = (Path(__file__).parents[2] / "docs" / "reference" / "families.md").read_text()
    arch: Any = ModuleType("opt")
    exec(re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0], arch.__dict__)
    net = unknown("opt")
    example = inputs(net)
    for name in [width.name for width in arch.widths(net)]:
        width = next(width for width in arch.widths(net) if width.name == name)
        dead = torch.arange(width.size) % 3 == 1
        surgery.zero_units_(net, width, dead)
        before = logits(net, example)
        surgery.shrink_(net, width, ~dead, example)
        arch.resized_(net, width, int((~dead).sum()))
        surgery.prove_equal(before, logits(net, example), name)
    assert {width.size for width in arch.widths(net)} == {3, 16}


def test_what_cannot_be_traced_is_refused_in_a_line():
    net = unknown("mpnet")
    net.config.model_type = "strange"
    net.forward = lambda **inputs: inputs["input_ids"].nonzero().tolist()
    with pytest.raises(
        InputError,
        match=r"^model: no file handles the family 'strange'; MPNetForSequenceClassification: cannot be traced \(.*\)$",
    ):
        traced.widths(net)
