"""Laws that every file in compressor/archs obeys; a new architecture is found and tested by itself."""

import copy
import functools

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import AutoConfig, AutoModelForImageClassification, AutoModelForSequenceClassification

from compressor import archs, surgery
from compressor.errors import NumericsError
from compressor.plugins import discover

ARCHS = discover(archs)
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "hidden_dim": 24,  # DistilBERT's word for it
    "vocab_size": 64,
    "max_position_embeddings": 40,
    "image_size": 8,
    "patch_size": 4,
    "num_channels": 1,
}
RAGGED = {"layer.0.heads": 3, "layer.0.ffn": 7, "layer.1.heads": 0, "layer.1.ffn": 0}

each_arch = pytest.mark.parametrize("name", ARCHS)
each_attention = pytest.mark.parametrize("attention", ["sdpa", "eager"])
each_side = pytest.mark.parametrize("side", ["producer", "consumer", "both"])


def build(name, attention="sdpa"):
    config = AutoConfig.for_model(ARCHS[name].MODEL_TYPES[0], **SIZES)
    is_text = type(config) in AutoModelForSequenceClassification._model_mapping
    auto = AutoModelForSequenceClassification if is_text else AutoModelForImageClassification
    return auto.from_config(config, attn_implementation=attention).eval()


@functools.cache
def original(name, attention):
    torch.manual_seed(0)
    net = build(name, attention)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)  # biases too: large everywhere, so that a wrong answer shows
    return net


def tiny(name, attention="sdpa"):
    return copy.deepcopy(original(name, attention))


def inputs(net, batch_size=3, length=6):
    generator = torch.Generator().manual_seed(length)
    if net.main_input_name == "pixel_values":
        return {"pixel_values": torch.randn(batch_size, 1, 8, 8, generator=generator)}
    ids = torch.randint(64, (batch_size, length), generator=generator)
    mask = torch.arange(length) < torch.randint(1, length + 1, (batch_size, 1), generator=generator)
    return {"input_ids": ids, "attention_mask": mask.long()}


def logits(net, example):
    with torch.no_grad():
        return net(**example).logits


def shrink_(net, arch, width, keep, example):
    surgery.shrink_(net, width, keep, example)
    arch.resized_(net, width, int(keep.sum()))


@each_arch
def test_every_layer_has_its_ffn_and_its_heads(name):
    net, arch = tiny(name), ARCHS[name]
    sizes = {width.name: (width.kind, width.size) for width in arch.widths(net)}
    assert sizes == {
        f"layer.{i}.{what}": kind for i in (0, 1) for what, kind in (("heads", ("head", 4)), ("ffn", ("neuron", 24)))
    }


@each_arch
def test_blocks_are_the_layers_of_one_list_in_order(name):
    net = tiny(name)
    blocks = ARCHS[name].blocks(net)
    parent = net.get_submodule(blocks[0].rpartition(".")[0])
    assert isinstance(parent, nn.ModuleList)
    assert [net.get_submodule(block) for block in blocks] == list(parent)


@each_arch
@each_attention
@each_side
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_any_dead_units_can_go(name, attention, side, data):
    """All widths in turn: on the side of the producer alone, what the units still emit is folded."""
    net, arch = tiny(name, attention), ARCHS[name]
    example = inputs(net)
    for width in arch.widths(net):
        dead = torch.tensor(data.draw(st.lists(st.booleans(), min_size=width.size, max_size=width.size)))
        surgery.zero_units_(net, width, dead, side)
        assert torch.equal(surgery.dead_units(net, width), dead)
        before = logits(net, example)
        shrink_(net, arch, width, ~dead, example)
        surgery.prove_equal(before, logits(net, example), width.name)
        assert {w.name: w.size for w in arch.widths(net)}[width.name] == int((~dead).sum())


@each_arch
def test_zero_queries_and_keys_do_not_free_a_head_but_zero_values_do(name):
    net, arch = tiny(name), ARCHS[name]
    for width in surgery.select(arch.widths(net), ["*.heads"]):
        for cut in sorted(width.producers, key=lambda cut: not cut.routes):
            assert not surgery.dead_units(net, width).any()
            nn.init.zeros_(net.get_submodule(cut.module).weight)
        assert surgery.dead_units(net, width).all()

        values = copy.deepcopy(original(name, "sdpa"))
        nn.init.zeros_(values.get_submodule(width.producers[-1].module).weight)
        assert surgery.dead_units(values, width).all()


@each_arch
@each_attention
def test_a_constant_that_is_not_folded_would_be_missed(name, attention):
    net, arch = tiny(name, attention), ARCHS[name]
    example = inputs(net)
    for width in arch.widths(net):
        silent = torch.arange(width.size) < 2
        surgery.zero_units_(net, width, silent, "producer")
        before = logits(net, example)
        surgery.zero_units_(net, width, silent, "both")
        with pytest.raises(NumericsError, match=width.name):
            surgery.prove_equal(before, logits(net, example), width.name)


@each_arch
@each_attention
def test_cutting_other_units_is_caught_and_names_the_width(name, attention):
    net, arch = tiny(name, attention), ARCHS[name]
    example = inputs(net)
    for width in arch.widths(net):
        wrong = copy.deepcopy(net)
        dead = torch.arange(width.size) == 1
        surgery.zero_units_(wrong, width, dead)
        before = logits(wrong, example)
        shrink_(wrong, arch, width, ~dead.roll(1), example)
        with pytest.raises(NumericsError, match=width.name):
            surgery.prove_equal(before, logits(wrong, example), width.name)


@each_arch
@each_attention
def test_a_sub_block_without_units_adds_a_constant(name, attention):
    net, arch = tiny(name, attention), ARCHS[name]
    example = inputs(net)
    for width in arch.widths(net):
        surgery.zero_units_(net, width, torch.ones(width.size, dtype=torch.bool), "producer")
        before = logits(net, example)
        shrink_(net, arch, width, torch.zeros(width.size, dtype=torch.bool), example)
        surgery.prove_equal(before, logits(net, example), width.name)
    assert not any(width.size for width in arch.widths(net))


@each_arch
@each_attention
def test_one_training_step_after_the_cut_changes_the_loss(name, attention):
    net, arch = tiny(name, attention), ARCHS[name]
    surgery.resize_(net, arch, RAGGED)
    batch = {**inputs(net), "labels": torch.tensor([0, 1, 0])}
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    losses = []
    for _ in range(2):
        loss = net(**batch).loss
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
    assert losses[0] != losses[1]


@each_arch
def test_a_fresh_network_cut_to_the_counts_takes_the_weights(name):
    net, arch = tiny(name), ARCHS[name]
    surgery.resize_(net, arch, RAGGED)
    fresh = build(name)
    surgery.resize_(fresh, arch, RAGGED)
    fresh.load_state_dict(net.state_dict())
    assert {width.name: width.size for width in arch.widths(fresh)} == RAGGED
    assert torch.equal(logits(fresh, inputs(net)), logits(net, inputs(net)))


@each_arch
def test_a_network_on_the_meta_device_can_be_cut(name):
    """There transformers builds what it loads."""
    net, arch = tiny(name), ARCHS[name]
    surgery.resize_(net, arch, RAGGED)
    with torch.device("meta"):
        fresh = build(name)
        surgery.resize_(fresh, arch, RAGGED)
    shapes = {key: tensor.shape for key, tensor in net.state_dict().items()}
    assert {key: tensor.shape for key, tensor in fresh.state_dict().items()} == shapes
    assert all(parameter.is_meta for parameter in fresh.parameters())


@each_arch
def test_counts_that_do_not_fit_are_refused(name):
    net, arch = tiny(name), ARCHS[name]
    with pytest.raises(ValueError, match=r"no width 'layer\.9\.ffn'; there are layer\.0\.heads"):
        surgery.resize_(net, arch, {"layer.9.ffn": 3})
    with pytest.raises(ValueError, match=r"layer\.0\.ffn: cannot have 25 units, the network has 24"):
        surgery.resize_(net, arch, {"layer.0.ffn": 25})


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the exporter, about itself
@each_arch
@each_attention
def test_ragged_widths_run_in_onnxruntime(name, attention, tmp_path):
    net, arch = tiny(name, attention), ARCHS[name]
    surgery.resize_(net, arch, RAGGED)
    example = inputs(net)
    axes = ({0: "batch", 1: "length"},) if net.main_input_name == "input_ids" else ({0: "batch"},)
    torch.onnx.export(
        net,
        kwargs=example,
        f=tmp_path / "net.onnx",
        dynamo=True,
        opset_version=23 if attention == "sdpa" else 18,
        dynamic_shapes=dict.fromkeys(example, *axes),
        verbose=False,
    )
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    for batch_size, length in ((1, 5), (4, 9)):
        rows = inputs(net, batch_size, length)
        (found,) = session.run(None, {key: value.numpy() for key, value in rows.items()})
        np.testing.assert_allclose(found, logits(net, rows).numpy(), rtol=1e-4, atol=1e-4)
