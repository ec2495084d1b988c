"""What the laws cannot see of DeBERTa-v2: layers for positions, scores that are scaled anew, and its many variants."""

import pytest
import tiny
import torch
from torch import nn
from transformers import (
    DebertaV2Config,
    DebertaV2ForMaskedLM,
    DebertaV2ForSequenceClassification,
    DebertaV2ForTokenClassification,
    DebertaV2Model,
)

from compressor import surgery
from compressor.archs import deberta_v2

SIZES = tiny.TEXT | tiny.LAYERS
OWN = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "share_att_key": False}
SHARED = {"relative_attention": True, "pos_att_type": ["p2c"], "share_att_key": True, "norm_rel_ebd": "layer_norm"}
ABSOLUTE = {"relative_attention": False, "type_vocab_size": 2}
V3 = SHARED | {"pos_att_type": ["p2c", "c2p"], "position_buckets": 4, "position_biased_input": False}


def build(head, **settings):
    torch.manual_seed(0)
    net = head(DebertaV2Config(**SIZES, **settings)).eval()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    return net


@pytest.mark.parametrize("settings", [OWN, SHARED, ABSOLUTE, V3])
def test_dead_units_of_every_variant_can_go(settings):
    net = build(DebertaV2ForSequenceClassification, **settings)
    example = tiny.inputs(net)
    for name in [width.name for width in deberta_v2.widths(net) if width.exact]:
        width = surgery.select(deberta_v2.widths(net), [name])[0]
        dead = torch.arange(width.size) % 3 == 1
        surgery.zero_units_(net, width, dead, "producer")
        before = tiny.logits(net, example)
        surgery.shrink_(net, width, ~dead, example)
        deberta_v2.resized_(net, width, int((~dead).sum()))
        surgery.prove_equal(before, tiny.logits(net, example), name)


def test_positions_with_layers_of_their_own_forbid_cutting_dimensions():
    names = [width.name for width in deberta_v2.widths(build(DebertaV2ForSequenceClassification, **OWN))]
    assert names == [f"layer.{i}.{what}" for i in (0, 1) for what in ("heads", "ffn")] + ["residual"]


def test_embeddings_that_no_norm_follows_are_exact():
    net = build(DebertaV2ForSequenceClassification, **V3, embedding_size=16)
    assert {width.name for width in deberta_v2.widths(net) if not width.exact} == {"residual"}
    net = build(DebertaV2ForMaskedLM, **V3, embedding_size=16)  # its head normalises what it compares with them
    assert {width.name for width in deberta_v2.widths(net) if not width.exact} == {"residual", "embedding"}


def test_an_attention_without_heads_is_silent_and_keeps_its_keys():
    net = build(DebertaV2ForSequenceClassification, **V3)
    keys = list(net.state_dict())
    surgery.resize_(net, deberta_v2, {"layer.0.heads": 0, "layer.1.head_dims": 0})
    assert list(net.state_dict()) == keys
    assert [width.size for width in deberta_v2.widths(net) if width.kind == "head"] == [0, 0]
    assert tiny.logits(net, tiny.inputs(net)).isfinite().all()


@pytest.mark.parametrize("is_legacy", [True, False])
def test_a_narrower_table_of_words_serves_the_language_head(is_legacy):
    net = build(DebertaV2ForMaskedLM, **V3, legacy=is_legacy)
    surgery.resize_(net, deberta_v2, {"residual": 29})
    assert net.get_input_embeddings().embedding_dim == 29
    assert tiny.logits(net, tiny.inputs(net)).shape == (3, 6, 64)


def test_a_narrower_sum_passes_the_convolution_and_is_read_by_every_head():
    net = build(DebertaV2ForTokenClassification, **V3, conv_kernel_size=3)
    surgery.resize_(net, deberta_v2, {"residual": 29})
    assert (net.deberta.encoder.conv.conv.in_channels, net.deberta.encoder.conv.conv.out_channels) == (29, 29)
    assert tiny.logits(net, tiny.inputs(net)).shape == (3, 6, 2)


def test_a_network_without_a_head_keeps_the_width_that_it_returns():
    assert [width.name for width in deberta_v2.widths(build(DebertaV2Model, **V3))][-1] == "layer.1.ffn"
