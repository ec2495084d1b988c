"""What the laws cannot see of BERT and its kin: attributes that their code does not read, and heads of every kind."""

import pytest
import tiny
import torch
import transformers
from transformers import AutoConfig, BertConfig, BertForSequenceClassification, BertModel, RobertaModel

from compressor import surgery
from compressor.archs import bert

LANGUAGE_MODELS = [
    ("bert", "BertForMaskedLM"),
    ("bert", "BertForPreTraining"),
    ("roberta", "RobertaForMaskedLM"),
    ("xlm-roberta", "XLMRobertaForMaskedLM"),
    ("camembert", "CamembertForMaskedLM"),
    ("electra", "ElectraForMaskedLM"),
]
OTHERS = [
    ("bert", "BertForNextSentencePrediction"),
    ("bert", "BertForTokenClassification"),
    ("bert", "BertForQuestionAnswering"),
    ("roberta", "RobertaForMultipleChoice"),
    ("roberta", "RobertaForTokenClassification"),
    ("xlm-roberta", "XLMRobertaForSequenceClassification"),
    ("camembert", "CamembertForSequenceClassification"),
    ("electra", "ElectraForPreTraining"),
    ("electra", "ElectraForMultipleChoice"),
    ("electra", "ElectraForQuestionAnswering"),
]


def build(family, name):
    sizes = tiny.TINY.get(family, tiny.TINY["roberta"])
    return getattr(transformers, name)(AutoConfig.for_model(family, **sizes)).eval()


def narrow_(net):
    counts = {width.name: width.size - 3 for width in bert.widths(net) if not width.name.endswith("heads")}
    surgery.resize_(net, bert, counts)
    return counts


def test_an_attention_knows_its_counts_and_keeps_its_scale():
    sizes = {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "intermediate_size": 24}
    net = BertForSequenceClassification(BertConfig(**sizes, vocab_size=10))
    surgery.resize_(net, bert, {"layer.0.heads": 3, "layer.0.head_dims": 5})
    first, second = (layer.attention.self for layer in net.bert.encoder.layer)
    assert (first.num_attention_heads, first.attention_head_size, first.all_head_size) == (3, 5, 15)
    assert (second.num_attention_heads, second.attention_head_size, second.all_head_size) == (4, 8, 32)
    assert first.scaling == second.scaling == 8**-0.5


@pytest.mark.parametrize(("family", "name"), LANGUAGE_MODELS)
def test_a_narrower_table_of_words_stays_tied(family, name):
    net = build(family, name)
    counts = narrow_(net)
    table = net.get_input_embeddings()
    assert net.get_output_embeddings().weight is table.weight
    assert table.embedding_dim == counts.get("embedding", counts["residual"])
    assert net(**tiny.inputs(net))[0].shape == (3, 6, 64)


@pytest.mark.parametrize(("family", "name"), OTHERS)
def test_every_head_reads_a_narrower_sum(family, name):
    net = build(family, name)
    counts = narrow_(net)
    example = tiny.inputs(net)
    if name.endswith("MultipleChoice"):
        example = {key: rows[:, None].repeat(1, 2, 1) for key, rows in example.items()}
    assert net(**example)[0].isfinite().all()
    assert {width.name: width.size for width in bert.widths(net)}.items() >= counts.items()


def test_dimensions_of_no_heads_are_none():
    net = tiny.tiny("bert")
    surgery.resize_(net, bert, {"layer.0.head_dims": 0, "layer.1.heads": 0})
    sizes = {width.name: width.size for width in bert.widths(net)}
    assert [sizes[f"layer.{i}.{what}"] for i in (0, 1) for what in ("heads", "head_dims")] == [0, 0, 0, 0]
    assert tiny.logits(net, tiny.inputs(net)).isfinite().all()


@pytest.mark.parametrize("auto", [BertModel, RobertaModel])
def test_a_network_without_a_head_keeps_the_width_that_it_returns(auto):
    net = auto(auto.config_class(**tiny.TINY["bert"]))
    assert [width.name for width in bert.widths(net)][-1] == "layer.1.ffn"
    assert bert.blocks(net) == ["encoder.layer.0", "encoder.layer.1"]
    surgery.resize_(net, bert, {"layer.0.heads": 2})
    assert net(torch.ones(1, 4, dtype=torch.long)).last_hidden_state.shape == (1, 4, 32)
