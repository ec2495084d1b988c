"""Laws of networks of every family whose layers were factorized: they are cut, saved and exported like others."""

import pytest
import tiny
import torch
from tiny import arch_of, inputs, logits
from transformers import AutoModel

import compressor
from compressor import surgery
from compressor.model import Model, OnnxGraph, Task, outputs_of, pretrained
from compressor.nn import FactorizedConv1x1
from compressor.stages import export
from compressor.surgery import factorizing

each_family = pytest.mark.parametrize("family", tiny.TINY)


def without_first_(net, name, side="both"):
    """Zero the first unit of a width, cut it, and give the width, the outputs before and the outputs after."""
    arch, example = arch_of(net), inputs(net)
    width = next(width for width in arch.widths(net) if width.name == name)
    keep = torch.arange(width.size) > 0
    surgery.zero_units_(net, width, ~keep, side)
    before = logits(net, example)
    surgery.shrink_(net, width, keep, example)
    arch.resized_(net, width, width.size - 1)
    return width, before, logits(net, example)


def factorized(family, method=None, budget=0.5, patterns=None):
    """Give a tiny network whose blocks were factorized, and how many of its layers were."""
    net = tiny.tiny(family)
    inside = Model(net, arch_of(net), Task(*tiny.task_of(net))).hidden
    chosen = factorizing.candidates(net, inside, patterns, method)
    n_layers = 0
    for each, layer in factorizing.folded(net, chosen):
        try:
            rank = each.rank_for(budget)
        except ValueError:  # a layer of a few weights
            continue
        surgery.replace_(net, each.name, each.factorized(layer, rank))
        n_layers += 1
    return net, n_layers


@each_family
def test_a_factorized_network_is_cut_exactly(family):
    net, n_layers = factorized(family)
    assert n_layers
    arch = arch_of(net)
    for name in [width.name for width in surgery.cuttable(net, arch.widths(net))]:
        for side in ("both", "producer"):
            if size_of(net, name) > 1:
                width, before, after = without_first_(net, name, side)
                if width.exact:
                    surgery.prove_equal(before, after, name)


def size_of(net, name):
    return next((width.size for width in arch_of(net).widths(net) if width.name == name), 0)


@each_family
def test_it_computes_what_its_folded_layers_compute(family):
    net, _ = factorized(family)
    before = logits(net, inputs(net))
    for name, layer in surgery.factorized(net).items():
        surgery.replace_(net, name, layer.fold())
    surgery.prove_equal(before, logits(net, inputs(net)), family, rtol=1e-4)


@each_family
def test_what_is_saved_loads_to_the_bit_and_not_into_dense_layers(family, tmp_path):
    net, _ = factorized(family)
    arch = arch_of(net)
    for width in surgery.cuttable(net, arch.widths(net))[:2]:
        without_first_(net, width.name)
    expected = logits(net, inputs(net))
    for folder in (tmp_path / "first", tmp_path / "second"):
        pretrained.record(net, {width.name: width.size for width in arch.widths(net)}, [])
        net.save_pretrained(folder)
        net = compressor.load(folder)
        net.set_attn_implementation("eager" if family in tiny.NO_SDPA else "sdpa")
        assert torch.equal(logits(net, inputs(net)), expected)
    with pytest.raises(RuntimeError, match=r"size mismatch|ignore_mismatched_sizes"):
        AutoModel.from_pretrained(tmp_path / "first")


@pytest.mark.parametrize("family", ["bert", "gpt2", "swin", "vit"])
@pytest.mark.parametrize("method", ["tensor_train", "cp", "tucker"])
def test_widths_without_an_axis_are_not_offered(family, method):
    net, _ = factorized(family, method)
    names = {width.name for width in surgery.cuttable(net, arch_of(net).widths(net))}
    assert not {name for name in names if name.endswith(("ffn", "heads"))}


@pytest.mark.parametrize("method", ["kronecker_sparse", "monarch", "product_of_sparse"])
def test_1x1_convolutions_take_methods_for_matrices(method, tmp_path):
    net, n_layers = factorized("mobilenet_v2", method, 0.6, ["*_1x1.convolution"])
    layers = surgery.factorized(net)
    assert n_layers == len(layers) > 8
    assert {type(layer) for layer in layers.values()} == {FactorizedConv1x1}
    expected = logits(net, inputs(net))
    pretrained.record(net, {width.name: width.size for width in arch_of(net).widths(net)}, [])
    net.save_pretrained(tmp_path)
    assert torch.equal(logits(compressor.load(tmp_path), inputs(net)), expected)
    for name, layer in layers.items():
        surgery.replace_(net, name, layer.fold())
    surgery.prove_equal(expected, logits(net, inputs(net)), method, rtol=1e-4)


def test_1x1_convolutions_whose_outer_factors_have_the_channels_are_cut():
    net, _ = factorized("mobilenet_v2", "product_of_sparse", 0.6, ["*_1x1.convolution"])
    names = [width.name for width in surgery.cuttable(net, arch_of(net).widths(net))]
    assert names
    for name in names[:3]:
        width, before, after = without_first_(net, name)
        surgery.prove_equal(before, after, width.name)


@pytest.mark.slow
@each_family
def test_it_is_exported_with_its_factors(family, tmp_path):
    net, _ = factorized(family)
    model = Model(net, arch_of(net), Task(*tiny.task_of(net)))
    graph = export.run(model, export.Options(stage="export"), tiny.bare_context(tmp_path))
    rows = inputs(net, 4, 9)
    found = torch.cat(list(outputs_of(OnnxGraph(graph.path, model.task))(rows).values()), dim=-1)
    torch.testing.assert_close(found, logits(net, rows), rtol=1e-4, atol=1e-4)
