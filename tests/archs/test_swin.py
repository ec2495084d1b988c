"""What the laws cannot say of Swin: the table of position biases, and the merging of patches."""

from typing import Any

import torch
from transformers import SwinConfig, SwinForImageClassification, SwinForMaskedImageModeling, SwinModel

from compressor import surgery
from compressor.archs import swin

SIZES = {"image_size": 16, "patch_size": 2, "embed_dim": 16, "depths": [1, 2], "num_heads": [2, 4], "window_size": 2}


def test_a_head_takes_its_position_biases_along():
    net: Any = SwinForImageClassification(SwinConfig(**SIZES))
    attention = net.swin.encoder.layers[1].blocks[0].attention
    table = torch.nn.init.normal_(attention.relative_position_bias.relative_position_bias_table.detach())
    width = surgery.select(swin.widths(net), ["stage.1.layer.0.heads"])[0]
    surgery.shrink_(net, width, torch.tensor([0, 3]), None)
    assert torch.equal(attention.relative_position_bias.relative_position_bias_table, table[:, [0, 3]])


def test_merging_reads_the_kept_dimensions_of_all_four_patches():
    net: Any = SwinForImageClassification(SwinConfig(**SIZES))
    reduction = net.swin.encoder.layers[0].downsample.reduction.weight.detach().clone()
    width = surgery.select(swin.widths(net), ["stage.0.residual"])[0]
    surgery.shrink_(net, width, torch.arange(16) != 5, None)
    entries = torch.arange(64)
    merging = net.swin.encoder.layers[0].downsample
    assert torch.equal(merging.reduction.weight, reduction[:, entries[entries % 16 != 5]])
    assert merging.norm.normalized_shape == (60,)


def test_a_decoder_reads_the_last_stage():
    net = SwinForMaskedImageModeling(SwinConfig(**SIZES, use_absolute_embeddings=True, encoder_stride=4)).eval()
    surgery.resize_(net, swin, {"stage.0.residual": 9, "stage.1.residual": 21})
    masked = torch.ones(2, 64, dtype=torch.bool)
    assert net(torch.randn(2, 3, 16, 16), bool_masked_pos=masked).reconstruction.shape == (2, 3, 16, 16)


def test_a_network_without_a_head_keeps_the_width_that_it_returns():
    names = [width.name for width in swin.widths(SwinModel(SwinConfig(**SIZES)))]
    assert [name for name in names if "residual" in name] == ["stage.0.residual"]


def test_blocks_are_the_layers_of_all_stages():
    net: Any = SwinForImageClassification(SwinConfig(**SIZES))
    layers = [layer for stage in net.swin.encoder.layers for layer in stage.blocks]
    assert [net.get_submodule(block) for block in swin.blocks(net)] == layers
