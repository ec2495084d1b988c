"""What the laws cannot see of DistilBERT: attributes that its code does not read, and heads of every kind."""

import pytest
import tiny
from transformers import (
    DistilBertConfig,
    DistilBertForMaskedLM,
    DistilBertForQuestionAnswering,
    DistilBertForTokenClassification,
    DistilBertModel,
)

from compressor import surgery
from compressor.archs import distilbert

CONFIG = tiny.TINY["distilbert"]


def test_an_attention_knows_its_counts_and_keeps_its_scale():
    net = tiny.tiny("distilbert")
    surgery.resize_(net, distilbert, {"layer.0.heads": 3, "layer.0.head_dims": 5})
    attention = net.distilbert.transformer.layer[0].attention
    assert (attention.n_heads, attention.attention_head_size, attention.scaling) == (3, 5, 8**-0.5)


def test_a_narrower_table_of_words_stays_tied():
    net = DistilBertForMaskedLM(DistilBertConfig(**CONFIG)).eval()
    surgery.resize_(net, distilbert, {"residual": 29})
    assert net.get_output_embeddings().weight is net.get_input_embeddings().weight
    assert net(**tiny.inputs(net)).logits.shape == (3, 6, 64)


@pytest.mark.parametrize("head", [DistilBertForQuestionAnswering, DistilBertForTokenClassification])
def test_every_head_reads_a_narrower_sum(head):
    net = head(DistilBertConfig(**CONFIG)).eval()
    surgery.resize_(net, distilbert, {"residual": 29})
    assert net(**tiny.inputs(net))[0].isfinite().all()


def test_a_network_without_a_head_keeps_the_width_that_it_returns():
    widths = distilbert.widths(DistilBertModel(DistilBertConfig(**CONFIG)))
    assert [width.name for width in widths][-1] == "layer.1.ffn"
