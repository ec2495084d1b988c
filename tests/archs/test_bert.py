"""What the laws cannot see of BERT: attributes that its own code does not read."""

from transformers import BertConfig, BertForSequenceClassification

from compressor import surgery
from compressor.archs import bert


def test_an_attention_knows_its_counts():
    sizes = {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "intermediate_size": 24}
    net = BertForSequenceClassification(BertConfig(**sizes, vocab_size=10))
    surgery.resize_(net, bert, {"layer.0.heads": 3})
    first, second = (layer.attention.self for layer in net.bert.encoder.layer)
    assert (first.num_attention_heads, first.attention_head_size, first.all_head_size) == (3, 8, 24)
    assert (second.num_attention_heads, second.attention_head_size, second.all_head_size) == (4, 8, 32)
