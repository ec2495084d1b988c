"""What the laws cannot see of ALBERT: which layers share their weights, and heads of every kind."""

import pytest
import tiny
from transformers import (
    AlbertConfig,
    AlbertForMaskedLM,
    AlbertForPreTraining,
    AlbertForQuestionAnswering,
    AlbertForTokenClassification,
    AlbertModel,
)

from compressor import surgery
from compressor.archs import albert

CONFIG = tiny.TINY["albert"]


def test_shared_layers_are_cut_once():
    net = tiny.tiny("albert")
    assert [width.name for width in albert.widths(net)][:3] == ["layer.0.heads", "layer.0.head_dims", "layer.0.ffn"]
    assert [width.name for width in albert.widths(net)][3:] == ["embedding", "residual"]


def test_groups_of_several_layers_are_counted_through():
    net = AlbertModel(AlbertConfig(**CONFIG, num_hidden_groups=2, inner_group_num=2))
    assert albert.blocks(net) == ["encoder.albert_layer_groups.0", "encoder.albert_layer_groups.1"]
    ffn = [width for width in albert.widths(net) if width.kind == "neuron"]
    assert [width.name for width in ffn] == [f"layer.{i}.ffn" for i in range(4)]
    assert ffn[2].producers[0].module == "encoder.albert_layer_groups.1.albert_layers.0.ffn"


def test_an_attention_knows_its_counts_and_keeps_its_scale():
    net = tiny.tiny("albert")
    surgery.resize_(net, albert, {"layer.0.heads": 3, "layer.0.head_dims": 5})
    attention = net.albert.encoder.albert_layer_groups[0].albert_layers[0].attention
    assert (attention.num_attention_heads, attention.attention_head_size, attention.all_head_size) == (3, 5, 15)
    assert attention.scaling == 8**-0.5


@pytest.mark.parametrize("head", [AlbertForMaskedLM, AlbertForPreTraining])
def test_a_narrower_table_of_words_stays_tied(head):
    net = head(AlbertConfig(**CONFIG)).eval()
    surgery.resize_(net, albert, {"embedding": 11, "residual": 29})
    assert net.get_output_embeddings().weight is net.get_input_embeddings().weight
    assert net(**tiny.inputs(net))[0].shape == (3, 6, 64)


@pytest.mark.parametrize("head", [AlbertForQuestionAnswering, AlbertForTokenClassification])
def test_every_head_reads_a_narrower_sum(head):
    net = head(AlbertConfig(**CONFIG)).eval()
    surgery.resize_(net, albert, {"embedding": 11, "residual": 29})
    assert net(**tiny.inputs(net))[0].isfinite().all()


def test_a_network_without_a_head_keeps_the_width_that_it_returns():
    assert [width.name for width in albert.widths(AlbertModel(AlbertConfig(**CONFIG)))][-1] == "layer.0.ffn"
