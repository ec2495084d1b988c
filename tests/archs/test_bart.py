"""What the laws cannot see of BART: a decoder alone, and attributes that its own code does not read."""

import tiny
from transformers import AutoConfig, BartForCausalLM

from compressor import surgery
from compressor.archs import bart


def test_a_decoder_alone_has_widths_of_its_own():
    net = BartForCausalLM(AutoConfig.for_model("bart", **tiny.TINY["bart"]))
    assert {width.name.partition(".")[0] for width in bart.widths(net)} == {"decoder", "residual"}


def test_an_attention_knows_its_counts_and_keeps_its_scale():
    net = tiny.tiny("bart")
    layer = net.model.decoder.layers[0]
    scale = layer.encoder_attn.scaling
    surgery.resize_(net, bart, {"decoder.layer.0.cross_heads": 3, "decoder.layer.0.cross_head_dims": 5})
    assert (layer.encoder_attn.num_heads, layer.encoder_attn.head_dim, layer.encoder_attn.scaling) == (3, 5, scale)
    assert (layer.self_attn.num_heads, layer.self_attn.head_dim) == (4, 8)
