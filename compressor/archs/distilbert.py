"""DistilBERT encoders: heads, their dimensions and FFN neurons, block by block, and the residual sum."""

from torch import nn

from compressor.surgery import Width
from compressor.surgery.sublayers import body, head_dims, heads, neurons, of_attention, present, streams

MODEL_TYPES = ("distilbert",)  # values of ``config.model_type`` that this file handles
INPUTS = ("attention.q_lin", "attention.k_lin", "attention.v_lin", "ffn.lin1")  # of a block
READERS = ("vocab_transform", "pre_classifier", "classifier", "qa_outputs")  # of the last block: the first one present


def blocks(net: nn.Module) -> list[str]:
    """List the transformer blocks, first block first."""
    return [f"{body(net)}transformer.layer.{i}" for i in range(len(net.base_model.transformer.layer))]


def widths(net: nn.Module) -> list[Width]:
    """List the heads, their dimensions and the FFN neurons of each block, then the residual sum."""
    declared = []
    for i, at in enumerate(blocks(net)):
        attention, span = f"{at}.attention", net.get_submodule(at).attention.attention_head_size
        layers = (f"{attention}.q_lin", f"{attention}.k_lin", f"{attention}.v_lin", f"{attention}.out_lin")
        declared.append(heads(net, f"layer.{i}", *layers, span))
        declared.append(head_dims(net, f"layer.{i}", *layers, span))
        declared.append(neurons(net, f"layer.{i}", f"{at}.ffn.lin1", f"{at}.ffn.lin2"))
    return declared + _streams(net)


def resized_(net: nn.Module, width: Width, n_units: int) -> None:
    """Update the counts of an attention, not its scale; an FFN reads its size from its weights."""
    if of_attention(width):
        attention = net.get_submodule(width.producers[0].module.rpartition(".")[0])
        if width.kind == "head":
            attention.n_heads = n_units
        elif n_units:  # with none left the old size stays: there are no entries to divide among the heads
            attention.attention_head_size = n_units


def _streams(net: nn.Module) -> list[Width]:
    """List the residual sum, unless it is the output; a language head is tied to the table of the vocabulary."""
    at = body(net)
    if not at:
        return []
    embeddings = f"{at}embeddings"
    tables = [f"{embeddings}.word_embeddings", f"{embeddings}.position_embeddings"]
    writers, norms, readers = (
        present(net, name) for name in ("vocab_transform", "vocab_layer_norm", "vocab_projector")
    )
    entry = (tables + writers, [f"{embeddings}.LayerNorm", *norms], readers)
    layers = blocks(net)
    inner = (
        [f"{layer}.{part}" for layer in layers for part in ("attention.out_lin", "ffn.lin2")],
        [f"{layer}.{part}" for layer in layers for part in ("sa_layer_norm", "output_layer_norm")],
        [f"{layer}.{part}" for layer in layers for part in INPUTS] + present(net, *READERS)[:1],
    )
    return streams(net, entry, None, inner)
