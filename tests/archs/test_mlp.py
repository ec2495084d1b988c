"""What the laws cannot see of the networks for tables."""

import pytest
import torch
from tiny import arch_of, inputs, logits, tiny

from compressor import surgery
from compressor.surgery.widths import select


def test_the_widths_of_both():
    def names(family):
        return {width.name: (width.kind, width.size) for width in arch_of(tiny(family)).widths(tiny(family))}

    hidden = {"layer.0.ffn": ("neuron", 16), "layer.1.ffn": ("neuron", 12)}
    mirrored = {"decoder.layer.0.ffn": ("neuron", 12), "decoder.layer.1.ffn": ("neuron", 16)}
    assert names("mlp") == {"inputs": ("input", 10)} | hidden
    encoder = {f"encoder.{name}": size for name, size in hidden.items()}
    assert names("autoencoder") == {"inputs": ("input", 10)} | encoder | mirrored


def test_batch_norm_goes_with_its_neurons():
    net = tiny("mlp")
    (width,) = select(arch_of(net).widths(net), ["layer.0.ffn"])
    dead = torch.arange(16) % 2 == 0
    surgery.zero_units_(net, width, dead)
    before = logits(net, inputs(net))
    surgery.shrink_(net, width, ~dead, inputs(net))
    surgery.prove_equal(before, logits(net, inputs(net)), width.name)
    assert net.encoder.layers[0].norm.num_features == 8


def test_inputs_that_went_first_are_not_counted_again():
    """The buffer of indices refers to the whole row, whatever was cut before."""
    net = tiny("autoencoder")
    for dead in ([0, 1], [0, 7]):  # of ten features, then of the eight that are left
        (width,) = select(arch_of(net).widths(net), ["inputs"])
        keep = torch.ones(width.size, dtype=torch.bool)
        keep[dead] = False
        surgery.shrink_(net, width, keep, None)
    assert net.kept_features == tuple("defghi")


def test_inputs_have_no_producer():
    net = tiny("mlp")
    (width,) = select(arch_of(net).widths(net), ["inputs"])
    with pytest.raises(ValueError, match="inputs: has no producer"):
        surgery.columns(net, width, "producer")
    assert torch.equal(surgery.columns(net, width), net.encoder.layers[0].dense.weight)


def test_dead_inputs_are_held():
    net = tiny("mlp")
    (width,) = select(arch_of(net).widths(net), ["inputs"])
    surgery.zero_units_(net, width, torch.arange(10) == 3)
    ((slot, _, dead),) = surgery.holds(net, width)
    assert slot.tensor is net.encoder.layers[0].dense.weight
    assert dead.tolist() == [3]
