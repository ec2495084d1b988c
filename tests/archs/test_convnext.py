"""What the laws cannot say of ConvNeXt: blocks without a layer scale, and networks without a head."""

import torch
from transformers import ConvNextConfig, ConvNextForImageClassification, ConvNextModel

from compressor import surgery
from compressor.archs import convnext

SIZES = {"patch_size": 2, "num_stages": 2, "hidden_sizes": [8, 12], "depths": [1, 1]}


def test_a_layer_scale_is_optional():
    net = ConvNextForImageClassification(ConvNextConfig(**SIZES, layer_scale_init_value=0.0)).eval()
    surgery.resize_(net, convnext, {"stage.0.channels": 5, "stage.1.channels": 7})
    assert net(torch.randn(2, 3, 16, 16)).logits.shape == (2, 2)


def test_a_depthwise_convolution_stays_one():
    net = ConvNextForImageClassification(ConvNextConfig(**SIZES)).eval()
    surgery.resize_(net, convnext, {"stage.0.channels": 5})
    depthwise = net.convnext.encoder.stages[0].layers[0].dwconv
    assert depthwise.groups == depthwise.in_channels == depthwise.out_channels == 5


def test_a_network_without_a_head_keeps_the_width_that_it_returns():
    names = [width.name for width in convnext.widths(ConvNextModel(ConvNextConfig(**SIZES)))]
    assert names == ["stage.0.block.0.ffn", "stage.0.channels", "stage.1.block.0.ffn"]
