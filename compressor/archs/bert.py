"""BERT, RoBERTa, XLM-RoBERTa, CamemBERT and ELECTRA encoders, whose layers have the same names."""

from torch import nn

from compressor.surgery import Width
from compressor.surgery.sublayers import body, head_dims, heads, neurons, of_attention, present, streams

MODEL_TYPES = ("bert", "roberta", "xlm-roberta", "camembert", "electra")  # values of ``config.model_type``
TABLES = ("word_embeddings", "position_embeddings", "token_type_embeddings")
INPUTS = ("attention.self.query", "attention.self.key", "attention.self.value", "intermediate.dense")  # of a layer
READERS = (  # of the last layer, if there is no pooler: the first one present
    "sequence_summary.summary",
    "classifier.dense",
    "classifier",
    "qa_outputs",
    "discriminator_predictions.dense",
)
LANGUAGE_HEADS = (  # layers that write, normalise and read a vector of the vocabulary's table, tied to it
    ("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", "cls.predictions.decoder"),
    ("lm_head.dense", "lm_head.layer_norm", "lm_head.decoder"),
    ("generator_predictions.dense", "generator_predictions.LayerNorm", "generator_lm_head"),
)


def blocks(net: nn.Module) -> list[str]:
    """List the encoder layers, first layer first."""
    return [f"{body(net)}encoder.layer.{i}" for i in range(len(net.base_model.encoder.layer))]


def widths(net: nn.Module) -> list[Width]:
    """List the heads, their dimensions and the FFN neurons of each layer, then those that run through all layers."""
    declared = []
    for i, at in enumerate(blocks(net)):
        attention = f"{at}.attention.self"
        layers = (f"{attention}.query", f"{attention}.key", f"{attention}.value", f"{at}.attention.output.dense")
        span = net.get_submodule(attention).attention_head_size
        declared.append(heads(net, f"layer.{i}", *layers, span))
        declared.append(head_dims(net, f"layer.{i}", *layers, span))
        declared.append(neurons(net, f"layer.{i}", f"{at}.intermediate.dense", f"{at}.output.dense"))
    return declared + _streams(net)


def resized_(net: nn.Module, width: Width, n_units: int) -> None:
    """Update the counts of an attention, not its scale; an FFN reads its size from its weights."""
    if not of_attention(width):
        return
    query = width.producers[0].module
    attention = net.get_submodule(query.rpartition(".")[0])
    attention.all_head_size = net.get_submodule(query).out_features
    if width.kind == "head":
        attention.num_attention_heads = n_units
    elif n_units:  # with none left the old size stays: there are no entries to divide among the heads
        attention.attention_head_size = n_units


def _streams(net: nn.Module) -> list[Width]:
    """List the residual sum, and the embeddings if they are narrower; nothing if the sum is the output."""
    at = body(net)
    if not at:
        return []
    language = next((list(head) for head in LANGUAGE_HEADS if present(net, *head)), [])
    tables, norm = (f"{at}embeddings.{table}" for table in TABLES), f"{at}embeddings.LayerNorm"
    entry = ([*tables, *language[:1]], [norm, *language[1:2]], language[2:])
    sums = [f"{layer}.{part}" for layer in blocks(net) for part in ("attention.output", "output")]
    readers = [f"{layer}.{part}" for layer in blocks(net) for part in INPUTS]
    readers += present(net, f"{at}pooler.dense", *READERS)[:1] + language[:1]
    inner = ([f"{part}.dense" for part in sums], [f"{part}.LayerNorm" for part in sums], readers)
    return streams(net, entry, next(iter(present(net, f"{at}embeddings_project")), None), inner)
