"""What the laws cannot see of Llama and its kin: which attentions have groups, and the slots of mixed caches."""

import pytest
import tiny
import torch
from tiny import arch_of, inputs, logits
from transformers import AutoConfig, AutoModelForSequenceClassification

from compressor import surgery
from compressor.archs import llama


def build(family, **settings):
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **tiny.TINY[family] | settings)
    net = AutoModelForSequenceClassification.from_config(config).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return net


def test_heads_that_share_nothing_are_groups_of_one():
    net = build("llama", num_key_value_heads=4)
    names = [width.name for width in llama.widths(net)]
    assert names == ["layer.0.heads", "layer.0.ffn", "layer.1.heads", "layer.1.ffn", "residual"]


def test_a_width_of_shared_heads_stays_when_one_is_left():
    net = build("llama")
    surgery.resize_(net, llama, {"layer.0.group_heads": 1})
    assert {width.name: width.size for width in llama.widths(net)}["layer.0.group_heads"] == 1
    assert net.model.layers[0].self_attn.num_key_value_groups == 1


@pytest.mark.parametrize("family", ["llama", "phi3"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_without_query_heads_the_groups_go_too(family, attention):
    net = tiny.tiny(family, attention)
    arch = arch_of(net)
    width = next(width for width in arch.widths(net) if width.name == "layer.0.group_heads")
    surgery.zero_units_(net, width, torch.tensor([True, True]))
    before = logits(net, inputs(net))
    surgery.shrink_(net, width, torch.tensor([], dtype=torch.long), inputs(net))
    arch.resized_(net, width, 0)
    surgery.prove_equal(before, logits(net, inputs(net)), width.name)
    assert {width.name: width.size for width in arch.widths(net)}["layer.0.heads"] == 0


def test_a_value_bias_goes_into_an_output_that_had_none():
    net = build("qwen2")
    output = net.model.layers[0].self_attn.o_proj
    assert output.bias is None
    width = llama.widths(net)[0]
    surgery.zero_units_(net, width, torch.tensor([True, False]), "producer")
    before = logits(net, inputs(net))
    surgery.shrink_(net, width, torch.tensor([1]), inputs(net))
    surgery.prove_equal(before, logits(net, inputs(net)), width.name)
    assert surgery.new_biases(net) == ["model.layers.0.self_attn.o_proj"]


def test_a_slot_of_a_sliding_window_stays_one():
    kinds = ["full_attention", "sliding_attention"] * 2
    net = build("qwen3", num_hidden_layers=4, layer_types=kinds, use_sliding_window=True, sliding_window=4)
    surgery.resize_(net, llama, {"layer.0.heads": 0, "layer.1.heads": 0})
    attentions = [layer.self_attn for layer in net.model.layers]
    assert [attention.layer_idx for attention in attentions] == [2, 3, 0, 1]
    assert [kinds[attention.layer_idx] for attention in attentions] == kinds
