"""What the laws cannot see of T5: gated neurons, an encoder alone, and cross-attentions of different widths."""

import pytest
import tiny
import torch
from tiny import inputs, logits
from transformers import AutoConfig, T5EncoderModel, T5ForConditionalGeneration

from compressor import surgery
from compressor.archs import t5


def build(cls, **settings):
    torch.manual_seed(0)
    net = cls(AutoConfig.for_model("t5", **tiny.TINY["t5"], **settings)).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return net


def test_gated_neurons_have_two_producers():
    net = build(T5ForConditionalGeneration, feed_forward_proj="gated-gelu")
    widths = {width.name: width for width in t5.widths(net)}
    assert [cut.module.rpartition(".")[2] for cut in widths["decoder.layer.1.ffn"].producers] == ["wi_0", "wi_1"]


def test_an_encoder_alone_has_widths_of_its_own():
    net = build(T5EncoderModel)
    names = ["encoder.heads"] + [f"encoder.layer.{i}.{what}" for i in (0, 1) for what in ("head_dims", "ffn")]
    assert [width.name for width in t5.widths(net)] == names
    example = inputs(net)
    width, *_ = t5.widths(net)
    dead = torch.tensor([False, True, False, False])
    surgery.zero_units_(net, width, dead)
    with torch.no_grad():
        before = net(**example).last_hidden_state
        surgery.shrink_(net, width, ~dead, example)
        t5.resized_(net, width, 3)
        surgery.prove_equal(before, net(**example).last_hidden_state, width.name)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_heads_of_a_stack_go_together_and_those_of_cross_attention_alone(attention):
    net = build(T5ForConditionalGeneration)
    net.set_attn_implementation(attention)
    example = inputs(net) | {"decoder_input_ids": inputs(net)["input_ids"]}
    for name, dead in (("decoder.heads", [1]), ("decoder.layer.0.cross_heads", [0, 2]), ("encoder.heads", [3])):
        width = next(width for width in t5.widths(net) if width.name == name)
        surgery.zero_units_(net, width, torch.isin(torch.arange(4), torch.tensor(dead)))
        before = logits(net, example)
        surgery.shrink_(net, width, ~surgery.dead_units(net, width), example)
        t5.resized_(net, width, 4 - len(dead))
        surgery.prove_equal(before, logits(net, example), name)
    tables = [table.weight.shape for name, table in net.named_modules() if name.endswith("relative_attention_bias")]
    assert tables == [(32, 3), (32, 3)]
