"""Laws that every family obeys; one that tiny.py knows is tested by itself, and each file must have one there."""

import copy
import re

import onnx
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import arch_of, inputs, logits
from torch import nn
from transformers import AutoModel

import compressor
from compressor import archs, surgery
from compressor.errors import NumericsError
from compressor.model import Model, OnnxGraph, Task, outputs_of, pretrained
from compressor.plugins import discover
from compressor.stages import export
from compressor.surgery import layers

NAMES = re.compile(
    r"((encoder|decoder)\.)?((layer|stage)\.\d+\.|(stem|head)\.)?((block|layer)\.\d+\.)?"
    r"(ffn|heads|cross_heads|cross_head_dims|group_heads|head_dims|channels|residual|embedding|inputs)(\.\w+)?"
)

each_family = pytest.mark.parametrize("family", tiny.TINY)
each_net = pytest.mark.parametrize(("family", "attention"), tiny.nets())


def cut_(net, arch, name, choose, side="both"):
    """Zero chosen units of a width, cut them, and give the width, the outputs before and the outputs after."""
    width = width_of(net, arch, name)
    dead = choose(width)
    surgery.zero_units_(net, width, dead, side)
    assert dead.logical_not().logical_or(surgery.dead_units(net, width)).all(), f"{name}: zero units live"
    example = inputs(net)
    before = logits(net, example)
    surgery.shrink_(net, width, ~dead, example)
    arch.resized_(net, width, int((~dead).sum()))
    return width, before, logits(net, example)


def width_of(net, arch, name):
    return next(width for width in arch.widths(net) if width.name == name)


def names(net, arch):
    return [width.name for width in arch.widths(net)]


def can_be_empty(net, width):
    """A convolution must read something, and so must attention scores and normalisations."""
    readers = [net.get_submodule(cut.module) for cut in width.consumers]
    is_linear = not any(isinstance(layer, nn.Conv2d | nn.BatchNorm2d) for layer in readers)
    return is_linear and width.exact and width.kind in ("neuron", "head", "group") and not width.carriers


def test_every_file_has_a_tiny_network():
    families = {family for arch in discover(archs, archs.Arch).values() for family in arch.MODEL_TYPES}
    assert families == set(tiny.TINY) | {"xlm-roberta", "camembert"} & families, (
        "the last two are RoBERTa to the letter"
    )


@each_family
def test_widths_have_the_promised_names_once(family):
    net = tiny.tiny(family)
    found = names(net, arch_of(net))
    assert found
    assert len(set(found)) == len(found)
    assert [name for name in found if not NAMES.fullmatch(name)] == []


@each_family
def test_blocks_are_submodules_in_order(family):
    net = tiny.tiny(family)
    blocks = arch_of(net).blocks(net)
    modules = [name for name, _ in net.named_modules()]
    assert blocks == [name for name in modules if name in blocks]


@each_net
@settings(max_examples=5, deadline=None)
@given(data=st.data(), side=st.sampled_from(["producer", "consumer", "both"]))
def test_any_dead_units_can_go(family, attention, data, side):
    """All widths in turn: on the side of the producer alone, what the units still emit is folded."""
    net = tiny.tiny(family, attention)
    arch = arch_of(net)

    def choose(width):
        flags = st.lists(st.booleans(), min_size=width.size, max_size=width.size)
        dead = torch.tensor(data.draw(flags), dtype=torch.bool)
        if not can_be_empty(net, width) and len(dead):
            dead[0] = False
        return dead

    for name in names(net, arch):
        width, before, after = cut_(net, arch, name, choose, side)
        if width.exact:
            surgery.prove_equal(before, after, name)
        assert after.isfinite().all()
        assert width_of(net, arch, name).size <= width.size


@each_net
def test_a_width_that_is_cut_is_as_small_as_it_says(family, attention):
    net = tiny.tiny(family, attention)
    arch = arch_of(net)
    for name in names(net, arch):
        width, _, _ = cut_(net, arch, name, lambda width: torch.arange(width.size) == width.size - 1)
        smaller = width_of(net, arch, name)
        assert smaller.size == width.size - 1
        assert surgery.columns(net, smaller).shape[1] == width.size - 1


@each_family
def test_zero_queries_and_keys_do_not_free_a_head(family):
    net = tiny.tiny(family)
    for width in arch_of(net).widths(net):
        routing = [cut for cut in width.producers if cut.role == "routes"]
        for cut in routing:
            layers.weights(net, width, cut).zero_()
        if routing:
            assert not surgery.dead_units(net, width).any()


@each_net
def test_cutting_other_units_is_caught_and_names_the_width(family, attention):
    net = tiny.tiny(family, attention)
    arch = arch_of(net)
    example = inputs(net)
    for width in arch.widths(net):
        if not width.exact or width.size < 2:
            continue
        wrong = copy.deepcopy(net)
        dead = torch.arange(width.size) == 1
        surgery.zero_units_(wrong, width, dead)
        before = logits(wrong, example)
        surgery.shrink_(wrong, width, ~dead.roll(-1), example)
        arch.resized_(wrong, width, width.size - 1)
        with pytest.raises(NumericsError, match=re.escape(width.name)):
            surgery.prove_equal(before, logits(wrong, example), width.name)


@each_net
def test_a_constant_that_is_not_folded_would_be_missed(family, attention):
    net = tiny.tiny(family, attention)
    example = inputs(net)
    for width in arch_of(net).widths(net):
        silent = torch.arange(width.size) < 1
        changed = copy.deepcopy(net)
        surgery.zero_units_(changed, width, silent, "producer")
        is_written = any(cut.role == "writes" for cut in width.producers)
        if not is_written or not surgery.constants(changed, width, example)[silent].any():
            continue
        before = logits(changed, example)
        surgery.zero_units_(changed, width, silent, "both")
        with pytest.raises(NumericsError, match=re.escape(width.name)):
            surgery.prove_equal(before, logits(changed, example), width.name)


@each_net
def test_a_sub_block_without_units_adds_a_constant(family, attention):
    net = tiny.tiny(family, attention)
    arch = arch_of(net)
    for name in names(net, arch):
        if name in names(net, arch) and can_be_empty(net, width_of(net, arch, name)):
            _, before, after = cut_(net, arch, name, lambda width: torch.ones(width.size, dtype=torch.bool), "producer")
            surgery.prove_equal(before, after, name)


@each_net
def test_training_after_the_cut_lowers_the_loss(family, attention):
    net = tiny.tiny(family, attention)
    tiny.make_ragged_(net)
    net.train()
    batch = {**inputs(net), "labels": torch.tensor([0, 1, 0])}
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    losses = []
    for _ in range(20):
        torch.manual_seed(0)  # the same dropout
        loss = net(**batch).loss
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
    assert min(losses[10:]) < 0.9 * losses[0]


@each_family
def test_a_network_on_the_meta_device_can_be_cut(family):
    """There transformers builds what it loads."""
    net = tiny.tiny(family)
    counts = tiny.make_ragged_(net)
    with torch.device("meta"):
        fresh = tiny.build(family)
        surgery.resize_(fresh, arch_of(fresh), counts)
    shapes = {key: tensor.shape for key, tensor in net.state_dict().items()}
    assert {key: tensor.shape for key, tensor in fresh.state_dict().items()} == shapes
    assert all(parameter.is_meta for parameter in fresh.parameters())


@each_net
def test_what_is_saved_loads_to_the_bit_and_again(family, attention, tmp_path):
    net = tiny.tiny(family, attention)
    arch = arch_of(net)
    for name in names(net, arch):  # constants that are folded, into biases that have to be made
        if name in names(net, arch):
            cut_(net, arch, name, lambda width: torch.arange(width.size) == 0, "producer")
    expected = logits(net, inputs(net))
    for folder in (tmp_path / "first", tmp_path / "second"):
        pretrained.record(net, {width.name: width.size for width in arch.widths(net)}, [])
        net.save_pretrained(folder)
        net = compressor.load(folder)
        net.set_attn_implementation("eager" if family in tiny.NO_SDPA else attention)
        assert torch.equal(logits(net, inputs(net)), expected)


@each_family
def test_transformers_alone_refuses_what_its_config_does_not_describe(family, tmp_path):
    net = tiny.tiny(family)
    tiny.make_ragged_(net)
    net.save_pretrained(tmp_path)
    with pytest.raises(RuntimeError, match=r"size mismatch|ignore_mismatched_sizes"):
        AutoModel.from_pretrained(tmp_path)


@each_family
def test_counts_that_do_not_fit_are_refused(family):
    net = tiny.tiny(family)
    arch = arch_of(net)
    width = arch.widths(net)[0]
    with pytest.raises(ValueError, match=r"no width 'layer\.9\.nothing'; there are"):
        surgery.resize_(net, arch, {"layer.9.nothing": 3})
    with pytest.raises(ValueError, match=f"cannot have {width.size + 1} units, the network has {width.size}"):
        surgery.resize_(net, arch, {width.name: width.size + 1})


@pytest.mark.slow
@each_family
def test_ragged_widths_are_exported_as_they_are(family, tmp_path):
    """At the opset of the family, with the smaller widths in the file, at two batch sizes and two lengths."""
    net = tiny.tiny(family)
    tiny.make_ragged_(net)
    model = Model(net, arch_of(net), Task(*tiny.task_of(net)))
    context = tiny.bare_context(tmp_path)
    graph = export.run(model, export.Options(stage="export"), context)
    in_file = {size for each in onnx.load(graph.path).graph.initializer for size in each.dims}
    for width in model.widths():
        for cut in width.consumers:
            weight = layers.slots(net, width, cut)[0]
            assert weight.tensor.shape[weight.axis] in in_file, f"{cut.module} reads fewer units in the file too"
    for batch_size, length in ((1, 5), (4, 9)):
        rows = inputs(net, batch_size, length)
        found = torch.cat(list(outputs_of(OnnxGraph(graph.path, model.task))(rows).values()), dim=-1)
        torch.testing.assert_close(found, logits(net, rows), rtol=1e-4, atol=1e-4)
