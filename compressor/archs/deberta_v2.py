"""DeBERTa-v2 and -v3 encoders: heads and FFN neurons, layer by layer, the residual sum and narrower embeddings."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from compressor.surgery import Cut, Width
from compressor.surgery.sublayers import body, head_dims, heads, neurons, of_attention, present, streams

MODEL_TYPES = ("deberta-v2",)  # values of ``config.model_type`` that this file handles
TABLES = ("word_embeddings", "position_embeddings", "token_type_embeddings")  # a config may leave out the last two
OPSET = 22  # it does not use transformers' attention interface, so the operator of opset 23 cannot be used
POSITIONS = ("pos_key_proj", "pos_query_proj")  # of an attention that does not share them with the content
INPUTS = (  # of a layer
    *(f"attention.self.{part}" for part in ("query_proj", "key_proj", "value_proj", *POSITIONS)),
    "intermediate.dense",
)
READERS = ("pooler.dense", "classifier", "qa_outputs")  # of the last layer: the first one present
LANGUAGE_HEADS = (  # layers that write, normalise and read a vector of the vocabulary's table, tied to it
    ("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", "cls.predictions.decoder"),
    ("lm_predictions.lm_head.dense", "lm_predictions.lm_head.LayerNorm"),
)


class Silence(nn.Module):
    """An attention without heads; that of transformers 5.23 cannot reshape an output of no entries.

    It keeps the layers, now without rows, so that widths and checkpoints still find them.
    """

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention_head_size = attention.attention_head_size
        for name, layer in attention.named_children():
            setattr(self, name, layer)

    def forward(self, hidden_states: Tensor, *_: object, **settings: object) -> tuple[Tensor, None]:
        """Return an empty vector at each position."""
        return hidden_states[..., :0], None


def blocks(net: nn.Module) -> list[str]:
    """List the encoder layers, first layer first."""
    return [f"{body(net)}encoder.layer.{i}" for i in range(len(net.base_model.encoder.layer))]


def widths(net: nn.Module) -> list[Width]:
    """List the heads, their dimensions and the FFN neurons of each layer, then those that run through all layers."""
    declared = []
    for i, at in enumerate(blocks(net)):
        declared += _attention(net, f"layer.{i}", f"{at}.attention")
        declared.append(neurons(net, f"layer.{i}", f"{at}.intermediate.dense", f"{at}.output.dense"))
    return declared + _streams(net)


def resized_(net: nn.Module, width: Width, n_units: int) -> None:
    """Update the counts with which an attention reshapes its tensors; an FFN reads its size from its weights."""
    if not of_attention(width):
        return
    at = width.producers[0].module.rpartition(".")[0]
    attention = net.get_submodule(at)
    if width.kind == "head":
        attention.num_attention_heads = n_units
    elif n_units:
        attention.attention_head_size = n_units
        _rescale_(attention.query_proj, (n_units / width.size) ** 0.5)
    attention.all_head_size = attention.query_proj.out_features
    if attention.all_head_size == 0:
        net.set_submodule(at, Silence(attention))


@torch.no_grad()
def _rescale_(query: nn.Linear, factor: float) -> None:
    """Scale the queries, because the forward pass divides all scores by the root of the present head dimensions."""
    query.weight.mul_(factor)
    query.bias.mul_(factor)


def _attention(net: nn.Module, name: str, at: str) -> list[Width]:
    """List the heads, and their dimensions unless positions have their own layers: then three products use them."""
    span = net.get_submodule(at).self.attention_head_size
    layers = (f"{at}.self.query_proj", f"{at}.self.key_proj", f"{at}.self.value_proj", f"{at}.output.dense")
    positions = present(net, *(f"{at}.self.{part}" for part in POSITIONS))
    whole = heads(net, name, *layers, span)
    if not positions:
        return [whole, head_dims(net, name, *layers, span)]
    routes = tuple(Cut(path, "out", span, role="routes") for path in positions)
    return [replace(whole, producers=(*whole.producers, *routes))]


def _streams(net: nn.Module) -> list[Width]:
    """List the residual sum, and the embeddings if they are narrower; nothing if the sum is the output.

    The table of relative positions is cut with the sum: the same layers read both.
    """
    at, layers = body(net), blocks(net)
    if not at:
        return []
    language = next((list(head) for head in LANGUAGE_HEADS if present(net, *head)), [])
    tables = present(net, *(f"{at}embeddings.{table}" for table in TABLES))
    entry = (tables + language[:1], language[1:2], language[2:])
    convolution = present(net, f"{at}encoder.conv.conv")
    sums = [f"{layer}.{part}" for layer in layers for part in ("attention.output", "output")]
    norms = [f"{at}{part}.LayerNorm" for part in ("embeddings", "encoder", "encoder.conv")]
    readers = present(net, *(f"{layer}.{part}" for layer in layers for part in INPUTS))
    inner = (
        [f"{part}.dense" for part in sums] + present(net, f"{at}encoder.rel_embeddings") + convolution,
        [f"{part}.LayerNorm" for part in sums] + present(net, *norms),
        readers + present(net, *READERS)[:1] + convolution + language[:1],
    )
    return streams(net, entry, next(iter(present(net, f"{at}embeddings.embed_proj")), None), inner)
