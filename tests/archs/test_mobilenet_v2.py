"""What the laws cannot say of MobileNet-v2: where its stages begin, and the forms of its stem."""

import pytest
import torch
from transformers import MobileNetV2Config, MobileNetV2ForImageClassification, MobileNetV2Model

from compressor import surgery
from compressor.archs import mobilenet_v2

SIZES = {"depth_multiplier": 0.35, "depth_divisible_by": 8}


def sums(net):
    return [width.name for width in mobilenet_v2.widths(net) if ".block." not in width.name]


def test_stages_begin_where_a_block_does_not_add_to_its_input():
    net = MobileNetV2ForImageClassification(MobileNetV2Config(**SIZES))
    names = [width.name for width in mobilenet_v2.widths(net) if ".block." in width.name]
    assert names == ["stem.block.0.channels"] + [
        f"stage.{i}.block.{j}.channels" for i, depth in enumerate((2, 3, 4, 3, 3, 1)) for j in range(depth)
    ]
    assert sums(net) == ["stem.channels", *(f"stage.{i}.channels" for i in range(6)), "head.channels"]


@pytest.mark.parametrize("padding", [False, True], ids=["torch's padding", "TensorFlow's padding"])
@pytest.mark.parametrize("is_expansion", [False, True], ids=["stem of four layers", "stem of three layers"])
def test_both_stems_can_be_cut(is_expansion, padding):
    config = MobileNetV2Config(**SIZES, first_layer_is_expansion=is_expansion, tf_padding=padding)
    net = MobileNetV2ForImageClassification(config).eval()
    pixels = {"pixel_values": torch.randn(2, 3, 32, 32)}
    for width in surgery.select(mobilenet_v2.widths(net), ["stem.*"]):
        keep = torch.arange(width.size) % 3 != 0
        surgery.zero_units_(net, width, ~keep)
        with torch.no_grad():
            before = net(**pixels).logits
            surgery.shrink_(net, width, keep, pixels)
            surgery.prove_equal(before, net(**pixels).logits, width.name)


def test_a_network_without_a_head_keeps_the_width_that_it_returns():
    assert sums(MobileNetV2Model(MobileNetV2Config(**SIZES)))[-1] == "stage.5.channels"
