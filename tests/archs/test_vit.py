"""What the laws cannot say of ViT: its queries, keys and values may have no bias."""

import torch
from transformers import ViTConfig, ViTForImageClassification

from compressor import surgery
from compressor.archs import vit


def test_silent_heads_without_biases_leave_nothing_to_fold():
    sizes = {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 1, "intermediate_size": 24}
    net = ViTForImageClassification(ViTConfig(**sizes, image_size=8, patch_size=4, qkv_bias=False)).eval()
    heads, _ = vit.widths(net)
    surgery.zero_units_(net, heads, torch.tensor([True, False, True, False]), "producer")
    pixels = {"pixel_values": torch.randn(2, 3, 8, 8)}
    with torch.no_grad():
        before = net(**pixels).logits
        bias = net.vit.layers[0].attention.o_proj.bias.clone()
        surgery.shrink_(net, heads, torch.tensor([1, 3]), pixels)
        surgery.prove_equal(before, net(**pixels).logits, heads.name)
    assert torch.equal(net.vit.layers[0].attention.o_proj.bias, bias)
