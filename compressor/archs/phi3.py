"""Phi-3, whose layers are fused: key-value groups, query heads and gated neurons, and the residual stream."""

from typing import Any

from torch import nn
from transformers import PreTrainedConfig

from compressor.surgery import Cut, Width
from compressor.surgery.removal import empty_
from compressor.surgery.sublayers import body, groups, head, named, number_slots_, of_attention, residual

MODEL_TYPES = ("phi3",)  # values of ``config.model_type`` that this file handles
OPSET = 18  # at 23 onnxruntime 1.31 refuses the rotary tables of more than one text


class LayerConfig:
    """The config of the network except for the number of query heads: Phi-3 slices its fused layer with it.

    It is not a copy, so that an attention follows when the network's attention implementation is changed.
    """

    def __init__(self, shared: PreTrainedConfig, num_attention_heads: int) -> None:
        self.shared, self.num_attention_heads = shared, num_attention_heads

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # looked up while copying, before the attributes exist
            raise AttributeError(name)
        return getattr(self.shared, name)


def blocks(net: nn.Module) -> list[str]:
    """List the layers, first layer first."""
    return [f"{body(net)}layers.{i}" for i in range(len(net.base_model.layers))]


def widths(net: nn.Module) -> list[Width]:
    """List the groups, the query heads that share one and the neurons of each layer, then the residual stream.

    The dimensions of a head are not a width: positions rotate them in pairs, the same ones in all layers.
    """
    declared = []
    for i, at in enumerate(blocks(net)):
        declared += _attention(net, f"layer.{i}", f"{at}.self_attn")
        declared.append(_neurons(net, f"layer.{i}", f"{at}.mlp"))
    stream = residual(
        net.base_model.embed_tokens.embedding_dim,
        named(net, "embed_tokens", "o_proj", "down_proj"),
        named(net, "input_layernorm", "post_attention_layernorm", "norm"),
        [*named(net, "qkv_proj", "gate_up_proj"), *head(net)],
    )
    return [*declared, stream] if head(net) else declared


def resized_(net: nn.Module, width: Width, n_units: int) -> None:
    """Update the counts of an attention; an MLP reads its size from its weights."""
    if not of_attention(width):
        return
    attention = net.get_submodule(width.consumers[0].module.rpartition(".")[0])
    if width.kind == "group":
        attention.num_key_value_heads = n_units
    else:
        attention.num_key_value_groups = n_units
        if n_units == 0:  # transformers' sdpa cannot repeat groups zero times: remove them too
            empty_(net, next(other for other in widths(net) if other.name == f"{width.layer}.heads"))
            attention.num_key_value_heads = 0
    n_heads = attention.num_key_value_heads * attention.num_key_value_groups
    attention.config = LayerConfig(net.base_model.config, n_heads)
    renumber_(net)


def renumber_(net: nn.Module) -> None:
    """Assign the attentions their slots in the cache."""
    attentions = [net.get_submodule(at).self_attn for at in blocks(net)]
    sizes = [attention.num_key_value_heads for attention in attentions]
    number_slots_(attentions, sizes, getattr(net.config, "layer_types", None))


def _attention(net: nn.Module, layer: str, at: str) -> list[Width]:
    """Widths of an attention; a second one if query heads share groups in the original network."""
    attention = net.get_submodule(at)
    n_groups, n_sharing, span = attention.num_key_value_heads, attention.num_key_value_groups, attention.head_dim
    at_key = n_groups * n_sharing * span
    fused = f"{at}.qkv_proj"
    declared = groups(
        layer,
        *(fused, fused, fused, f"{at}.o_proj"),
        n_groups=n_groups,
        n_sharing=n_sharing,
        span=span,
        offsets=(0, at_key, at_key + n_groups * span),
    )
    return declared if net.config.num_attention_heads > net.config.num_key_value_heads else declared[:1]


def _neurons(net: nn.Module, layer: str, at: str) -> Width:
    """Neurons of an MLP whose fused layer writes all gates, then all gated entries."""
    fused = f"{at}.gate_up_proj"
    n_neurons = net.get_submodule(fused).out_features // 2
    producers = (Cut(fused, "out"), Cut(fused, "out", offset=n_neurons))
    return Width(f"{layer}.ffn", "neuron", n_neurons, producers, (Cut(f"{at}.down_proj", "in"),), layer=layer)
