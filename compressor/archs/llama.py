"""Llama, Mistral, Qwen2 and Qwen3: key-value groups, query heads and gated neurons, and the residual stream."""

import sys

from torch import nn

from compressor.surgery import Width, resize_
from compressor.surgery.sublayers import body, groups, head, named, neurons, number_slots_, residual

MODEL_TYPES = ("llama", "mistral", "qwen2", "qwen3")  # values of ``config.model_type`` this file answers for
OPSET = 18  # at 23 onnxruntime 1.31 refuses the rotary tables of more than one text


def blocks(net: nn.Module) -> list[str]:
    """Name the layers, first layer first."""
    return [f"{body(net)}layers.{i}" for i in range(len(net.base_model.layers))]


def widths(net: nn.Module) -> list[Width]:
    """List the groups, the query heads that share one and the neurons of each layer, then the residual stream.

    The dimensions of a head are none: positions rotate them in pairs, the same ones in all layers.
    """
    found = []
    for i, at in enumerate(blocks(net)):
        found += _attention(net, f"layer.{i}", f"{at}.self_attn")
        found.append(
            neurons(net, f"layer.{i}.ffn", [f"{at}.mlp.gate_proj", f"{at}.mlp.up_proj"], f"{at}.mlp.down_proj")
        )
    stream = residual(
        "residual",
        net.base_model.embed_tokens.embedding_dim,
        named(net, "embed_tokens", "o_proj", "down_proj"),
        named(net, "input_layernorm", "post_attention_layernorm", "norm"),
        [*named(net, "q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"), *head(net)],
    )
    return [*found, stream] if head(net) else found


def resized_(net: nn.Module, width: Width, n_units: int) -> None:
    """Tell an attention how many query heads share a group; what else there is to know it reads from its weights."""
    if not width.name.endswith("heads"):
        return
    if width.kind == "head":
        net.get_submodule(width.consumers[0].module.rpartition(".")[0]).num_key_value_groups = n_units
        if n_units == 0:  # no group can be shared by nobody in transformers' sdpa
            resize_(net, sys.modules[__name__], {width.name.replace("group_heads", "heads"): 0})
    renumber_(net)


def renumber_(net: nn.Module) -> None:
    """Give the attentions their slots of the cache."""
    attentions = [net.get_submodule(at).self_attn for at in blocks(net)]
    sizes = [attention.k_proj.out_features for attention in attentions]
    number_slots_(attentions, sizes, getattr(net.config, "layer_types", None))


def _attention(net: nn.Module, prefix: str, at: str) -> list[Width]:
    """Widths of an attention; a second one where query heads share groups in the network as it was built."""
    attention = net.get_submodule(at)
    found = groups(
        prefix,
        *(f"{at}.{name}_proj" for name in "qkvo"),
        n_groups=attention.k_proj.out_features // attention.head_dim,
        n_sharing=attention.num_key_value_groups,
        span=attention.head_dim,
    )
    return found if net.config.num_attention_heads > net.config.num_key_value_heads else found[:1]
