"""What the laws cannot say of ResNet: bottlenecks, and a stem that no shortcut layer parts from the first stage."""

import pytest
import torch
from transformers import ResNetConfig, ResNetForImageClassification, ResNetModel

from compressor import surgery
from compressor.archs import resnet

SIZES = {"embedding_size": 16, "hidden_sizes": [16, 24], "depths": [1, 2]}


def names(net):
    return [width.name for width in resnet.widths(net)]


def test_a_stem_belongs_to_the_first_sum_unless_a_shortcut_layer_reads_it():
    basic = ResNetForImageClassification(ResNetConfig(**SIZES, layer_type="basic"))
    assert names(basic) == [
        "stage.0.block.0.channels",
        "stage.0.channels",
        "stage.1.block.0.channels",
        "stage.1.block.1.channels",
        "stage.1.channels",
    ]
    parted = ResNetForImageClassification(ResNetConfig(**{**SIZES, "embedding_size": 8}, layer_type="basic"))
    assert names(parted) == ["stem.channels", *names(basic)]


@pytest.mark.parametrize("downsample", [False, True])
def test_a_bottleneck_has_two_inner_widths(downsample):
    config = ResNetConfig(**SIZES, layer_type="bottleneck", downsample_in_bottleneck=downsample)
    net = ResNetForImageClassification(config).eval()
    assert [name for name in names(net) if ".block." in name] == [
        f"stage.{i}.block.{j}.channels.{inner}" for i, j in ((0, 0), (1, 0), (1, 1)) for inner in ("reduce", "spatial")
    ]
    pixels = {"pixel_values": torch.randn(2, 3, 16, 16)}
    for name in names(net):
        width = surgery.select(resnet.widths(net), [name])[0]
        keep = torch.arange(width.size) % 3 != 0
        surgery.zero_units_(net, width, ~keep)
        with torch.no_grad():
            before = net(**pixels).logits
            surgery.shrink_(net, width, keep, pixels)
            surgery.prove_equal(before, net(**pixels).logits, name)


def test_a_network_without_a_head_keeps_the_width_that_it_returns():
    assert names(ResNetModel(ResNetConfig(**SIZES, layer_type="basic")))[-1] == "stage.1.block.1.channels"


def test_blocks_are_the_layers_of_all_stages():
    net = ResNetForImageClassification(ResNetConfig(**SIZES))
    layers = [layer for stage in net.resnet.encoder.stages for layer in stage.layers]
    assert [net.get_submodule(block) for block in resnet.blocks(net)] == layers
