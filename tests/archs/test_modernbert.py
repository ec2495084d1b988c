"""What the laws cannot see of ModernBERT: layers with biases, and heads of every kind."""

import pytest
import tiny
import torch
from torch import nn
from transformers import (
    ModernBertConfig,
    ModernBertForMaskedLM,
    ModernBertForSequenceClassification,
    ModernBertForTokenClassification,
    ModernBertModel,
)

from compressor import surgery
from compressor.archs import modernbert

CONFIG = tiny.TINY["modernbert"]
BIASES = {"attention_bias": True, "mlp_bias": True, "norm_bias": True, "classifier_bias": True}


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_constants_of_fused_layers_are_folded(attention):
    torch.manual_seed(0)
    net = ModernBertForSequenceClassification(ModernBertConfig(**CONFIG, **BIASES)).eval()
    net.set_attn_implementation(attention)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    example = tiny.inputs(net)
    for name in ("layer.0.heads", "layer.0.ffn", "layer.1.heads", "layer.1.ffn"):
        width = surgery.select(modernbert.widths(net), [name])[0]
        silent = torch.arange(width.size) % 3 == 1
        surgery.zero_units_(net, width, silent, "producer")
        assert surgery.constants(net, width, example)[silent].any()
        before = tiny.logits(net, example)
        surgery.shrink_(net, width, ~silent, example)
        surgery.prove_equal(before, tiny.logits(net, example), name)


def test_the_second_cut_of_a_fused_layer_finds_keys_and_values_where_they_are_now():
    net = tiny.tiny("modernbert")
    rows = net.model.layers[0].attn.Wqkv.weight.detach().clone().view(3, 4, 8, 32)
    for keep in ([0, 2, 3], [1, 2]):
        surgery.shrink_(net, modernbert.widths(net)[0], torch.tensor(keep), None)
    assert torch.equal(net.model.layers[0].attn.Wqkv.weight, rows[:, [2, 3]].reshape(48, 32))


def test_a_narrower_table_of_words_stays_tied():
    net = ModernBertForMaskedLM(ModernBertConfig(**CONFIG)).eval()
    surgery.resize_(net, modernbert, {"residual": 29})
    assert net.get_output_embeddings().weight is net.get_input_embeddings().weight
    assert tiny.logits(net, tiny.inputs(net)).shape == (3, 6, 64)


def test_a_dense_layer_before_the_classifier_reads_a_narrower_sum():
    net = ModernBertForTokenClassification(ModernBertConfig(**CONFIG, classifier_pooling="mean")).eval()
    surgery.resize_(net, modernbert, {"residual": 29})
    assert net.head.dense.weight.shape == (32, 29)
    assert tiny.logits(net, tiny.inputs(net)).shape == (3, 6, 2)


def test_a_network_without_a_head_keeps_the_width_that_it_returns():
    net = ModernBertModel(ModernBertConfig(**CONFIG))
    assert [width.name for width in modernbert.widths(net)][-1] == "layer.1.ffn"
