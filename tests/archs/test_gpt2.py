"""What the laws cannot see of GPT-2: counts that its attention splits by, and scales that stay."""

import tiny

from compressor import surgery
from compressor.archs import gpt2


def test_an_attention_knows_its_counts_and_keeps_its_scale():
    net = tiny.tiny("gpt2")
    first, second = (layer.attn for layer in net.transformer.h)
    scale = first.scaling
    surgery.resize_(net, gpt2, {"layer.0.heads": 3, "layer.0.head_dims": 5, "layer.1.heads": 0})
    assert (first.num_heads, first.head_dim, first.split_size, first.scaling) == (3, 5, [15] * 3, scale)
    assert (second.num_heads, second.split_size) == (0, [0] * 3)
    assert (first.layer_idx, second.layer_idx) == (0, 1)


def test_the_first_slot_of_the_cache_belongs_to_an_attention_with_heads():
    net = tiny.tiny("gpt2")
    surgery.resize_(net, gpt2, {"layer.0.heads": 0})
    assert [layer.attn.layer_idx for layer in net.transformer.h] == [1, 0]
