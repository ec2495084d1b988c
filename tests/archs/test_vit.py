"""What the laws cannot say of ViT and DeiT: layers without biases, and heads that are not one classifier."""

import torch
from transformers import (
    DeiTConfig,
    DeiTForImageClassificationWithTeacher,
    ViTConfig,
    ViTForImageClassification,
    ViTForMaskedImageModeling,
    ViTModel,
)

from compressor import surgery
from compressor.archs import vit

SIZES = {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 1, "intermediate_size": 24}
IMAGE = {"image_size": 8, "patch_size": 4}


def test_silent_heads_without_biases_leave_nothing_to_fold():
    net = ViTForImageClassification(ViTConfig(**SIZES, **IMAGE, qkv_bias=False)).eval()
    heads = vit.widths(net)[0]
    surgery.zero_units_(net, heads, torch.tensor([True, False, True, False]), "producer")
    pixels = {"pixel_values": torch.randn(2, 3, 8, 8)}
    with torch.no_grad():
        before = net(**pixels).logits
        bias = net.vit.layers[0].attention.o_proj.bias.clone()
        surgery.shrink_(net, heads, torch.tensor([1, 3]), pixels)
        surgery.prove_equal(before, net(**pixels).logits, heads.name)
    assert torch.equal(net.vit.layers[0].attention.o_proj.bias, bias)


def test_both_classifiers_read_a_narrower_residual_stream():
    net = DeiTForImageClassificationWithTeacher(DeiTConfig(**SIZES, **IMAGE)).eval()
    surgery.resize_(net, vit, {"residual": 20, "layer.0.head_dims": 5})
    assert net(torch.randn(2, 3, 8, 8)).logits.shape == (2, 2)


def test_a_decoder_reads_a_narrower_residual_stream():
    net = ViTForMaskedImageModeling(ViTConfig(**SIZES, **IMAGE, encoder_stride=4)).eval()
    surgery.resize_(net, vit, {"residual": 20})
    masked = torch.ones(2, 4, dtype=torch.bool)
    assert net(torch.randn(2, 3, 8, 8), bool_masked_pos=masked).reconstruction.shape == (2, 3, 8, 8)


def test_a_network_without_a_head_keeps_the_width_that_it_returns():
    net = ViTModel(ViTConfig(**SIZES, **IMAGE))
    assert [width.name for width in vit.widths(net)] == ["layer.0.heads", "layer.0.head_dims", "layer.0.ffn"]
