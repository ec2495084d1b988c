"""ALBERT encoders: heads, their dimensions and FFN neurons, once for all layers that share them."""

from torch import nn

from compressor.surgery import Width
from compressor.surgery.sublayers import body, head_dims, heads, neurons, of_attention, present, streams

MODEL_TYPES = ("albert",)  # values of ``config.model_type`` that this file handles
INPUTS = ("attention.query", "attention.key", "attention.value", "ffn")  # of a layer
READERS = ("classifier", "qa_outputs")  # of the last layer, if there is no pooler


def blocks(net: nn.Module) -> list[str]:
    """List the groups of layers, each of which is run several times."""
    groups = f"{body(net)}encoder.albert_layer_groups"
    return [f"{groups}.{i}" for i in range(len(net.base_model.encoder.albert_layer_groups))]


def widths(net: nn.Module) -> list[Width]:
    """List the heads, their dimensions and the FFN neurons of each layer with weights of its own, then the streams."""
    declared = []
    for i, at in enumerate(_layers(net)):
        attention, span = f"{at}.attention", net.get_submodule(at).attention.attention_head_size
        layers = (f"{attention}.query", f"{attention}.key", f"{attention}.value", f"{attention}.dense")
        declared.append(heads(net, f"layer.{i}", *layers, span))
        declared.append(head_dims(net, f"layer.{i}", *layers, span))
        declared.append(neurons(net, f"layer.{i}", f"{at}.ffn", f"{at}.ffn_output"))
    return declared + _streams(net)


def resized_(net: nn.Module, width: Width, n_units: int) -> None:
    """Update the counts of an attention, not its scale; an FFN reads its size from its weights."""
    if not of_attention(width):
        return
    attention = net.get_submodule(width.producers[0].module.rpartition(".")[0])
    attention.all_head_size = attention.query.out_features
    if width.kind == "head":
        attention.num_attention_heads = n_units
    elif n_units:  # with none left the old size stays: there are no entries to divide among the heads
        attention.attention_head_size = n_units


def _layers(net: nn.Module) -> list[str]:
    """List the layers that have weights of their own."""
    n_inner = [len(net.get_submodule(group).albert_layers) for group in blocks(net)]
    return [f"{group}.albert_layers.{j}" for group, n in zip(blocks(net), n_inner, strict=True) for j in range(n)]


def _streams(net: nn.Module) -> list[Width]:
    """List the embeddings and the residual sum, unless it is the output; a language head is tied to the table."""
    at = body(net)
    if not at:
        return []
    embeddings = f"{at}embeddings"
    tables = [f"{embeddings}.{name}" for name in ("word_embeddings", "position_embeddings", "token_type_embeddings")]
    writers, norms, readers = (present(net, f"predictions.{name}") for name in ("dense", "LayerNorm", "decoder"))
    entry = (tables + writers, [f"{embeddings}.LayerNorm", *norms], readers)
    layers = _layers(net)
    inner = (
        [f"{layer}.{part}" for layer in layers for part in ("attention.dense", "ffn_output")],
        [f"{layer}.{part}" for layer in layers for part in ("attention.LayerNorm", "full_layer_layer_norm")],
        [f"{layer}.{part}" for layer in layers for part in INPUTS]
        + present(net, f"{at}pooler", *READERS)[:1]
        + writers,
    )
    return streams(net, entry, f"{at}encoder.embedding_hidden_mapping_in", inner)
