"""What is left of any family after `drop_layers` is an ordinary checkpoint, or the stage refuses the family."""

import re
from pathlib import Path

import pytest
import tiny
import torch
from pydantic import ValidationError
from tiny import arch_of, inputs, logits
from transformers import AutoConfig, AutoModelForImageClassification, AutoModelForSequenceClassification

import compressor
from compressor.errors import RecipeError
from compressor.model import Model, Task
from compressor.stages import drop_layers

REFUSED = ("albert", "autoencoder", "bart", "convnext", "mlp", "mobilenet_v2", "resnet", "swin", "mt5", "t5")


def model_of(family):
    net = tiny.tiny(family)
    return Model(net, arch_of(net), Task(*tiny.task_of(net)))


def run(model, **settings):
    context = tiny.bare_context(Path(), is_dry=True)
    return drop_layers.run(model, drop_layers.Options(stage="drop_layers", **settings), context)


@pytest.mark.parametrize("family", [family for family in tiny.TINY if family not in REFUSED])
def test_what_is_left_loads_with_transformers_alone(family, tmp_path):
    model = run(model_of(family), keep=(0,))
    assert len(model.arch.blocks(model.net)) == 1
    model.net.save_pretrained(tmp_path)
    is_text = model.net.main_input_name == "input_ids"
    auto = AutoModelForSequenceClassification if is_text else AutoModelForImageClassification
    example = inputs(model.net)
    expected = logits(model.net, example)
    assert torch.equal(logits(auto.from_pretrained(tmp_path), example), expected)
    assert torch.equal(logits(compressor.load(tmp_path), example), expected)


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "qwen2", "vit"])
def test_the_first_layer_may_go(family, tmp_path):
    model = run(model_of(family), keep=(1,))
    assert [m.layer_idx for m in model.net.modules() if hasattr(m, "layer_idx")] in ([], [0], [0, 0])
    model.net.save_pretrained(tmp_path)
    example = inputs(model.net)
    assert torch.equal(logits(compressor.load(tmp_path), example), logits(model.net, example))
    assert model.layers == (1,)


def test_a_first_layer_unlike_the_others_must_stay():
    with pytest.raises(RecipeError, match="the first layer of 'modernbert' differs from the others and must be kept"):
        run(model_of("modernbert"), keep=(1,))


@pytest.mark.parametrize("keep", [(0, 2), (0, 1)])
def test_a_layer_that_scales_by_its_place_keeps_it(keep, tmp_path):
    settings = {"n_embd": 16, "n_layer": 3, "n_head": 2, "vocab_size": 30, "pad_token_id": 0, "initializer_range": 0.6}
    config = AutoConfig.for_model("gpt2", **settings, scale_attn_by_inverse_layer_idx=True)
    net = AutoModelForSequenceClassification.from_config(config).eval()
    model = Model(net, arch_of(net), Task(*tiny.task_of(net)))
    if keep == (0, 2):
        with pytest.raises(RecipeError, match=r"layers of 'gpt2' are built by their place, and \[0, 2\] would change"):
            run(model, keep=keep)
        return
    run(model, keep=keep)
    model.net.save_pretrained(tmp_path)
    example = inputs(net)
    assert torch.equal(logits(compressor.load(tmp_path), example), logits(model.net, example))


@pytest.mark.parametrize("family", REFUSED)
def test_layers_that_a_config_cannot_count_are_refused(family):
    with pytest.raises(RecipeError, match=f"the layers of '{family}' are shared, or are in several stages"):
        run(model_of(family), keep=(0,))


@pytest.mark.parametrize("given", [{}, {"keep": (0,), "n_layers": 1}])
def test_layers_are_named_or_counted(given):
    with pytest.raises(ValidationError, match="give either 'keep' or 'n_layers'"):
        drop_layers.Options(stage="drop_layers", **given)


@pytest.mark.parametrize("keep", [(), (1, 0), (0, 0)])
def test_layers_are_named_once_and_in_order(keep):
    said = f"'keep' must list each layer once, in increasing order, got {list(keep)}"
    with pytest.raises(ValidationError, match=re.escape(said)):
        drop_layers.Options(stage="drop_layers", keep=keep)


def test_more_layers_than_there_are_are_refused():
    with pytest.raises(RecipeError, match="the network has 2 layers, counted from 0, got 3"):
        run(model_of("bert"), n_layers=3)


def test_a_layer_that_is_not_there_is_refused():
    with pytest.raises(RecipeError, match=r"the network has 2 layers, counted from 0, got \(0, 2\)"):
        run(model_of("bert"), keep=(0, 2))
