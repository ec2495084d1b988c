"""Llama, Mistral, Qwen2 and Qwen3: key-value groups, query heads and gated neurons, and the residual stream."""

from torch import nn

from compressor.surgery import Width
from compressor.surgery.removal import empty_
from compressor.surgery.sublayers import body, groups, head, named, neurons, number_slots_, of_attention, residual

MODEL_TYPES = ("llama", "mistral", "qwen2", "qwen3")  # values of ``config.model_type`` that this file handles
OPSET = 18  # at 23 onnxruntime 1.31 refuses the rotary tables of more than one text


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
        declared.append(neurons(net, f"layer.{i}", [f"{at}.mlp.gate_proj", f"{at}.mlp.up_proj"], f"{at}.mlp.down_proj"))
    stream = residual(
        net.base_model.embed_tokens.embedding_dim,
        named(net, "embed_tokens", "o_proj", "down_proj"),
        named(net, "input_layernorm", "post_attention_layernorm", "norm"),
        [*named(net, "q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"), *head(net)],
    )
    return [*declared, stream] if head(net) else declared


def resized_(net: nn.Module, width: Width, n_units: int) -> None:
    """Update how many query heads share a group; an attention reads everything else from its weights."""
    if not of_attention(width):
        return
    if width.kind == "head":
        net.get_submodule(width.consumers[0].module.rpartition(".")[0]).num_key_value_groups = n_units
        if n_units == 0:  # transformers' sdpa cannot repeat groups zero times: remove them too
            empty_(net, next(other for other in widths(net) if other.name == f"{width.layer}.heads"))
    renumber_(net)


def renumber_(net: nn.Module) -> None:
    """Assign the attentions their slots in the cache."""
    attentions = [net.get_submodule(at).self_attn for at in blocks(net)]
    sizes = [attention.k_proj.out_features for attention in attentions]
    number_slots_(attentions, sizes, getattr(net.config, "layer_types", None))


def _attention(net: nn.Module, layer: str, at: str) -> list[Width]:
    """Widths of an attention; a second one if query heads share groups in the original network."""
    attention = net.get_submodule(at)
    declared = groups(
        layer,
        *(f"{at}.{name}_proj" for name in "qkvo"),
        n_groups=attention.k_proj.out_features // attention.head_dim,
        n_sharing=attention.num_key_value_groups,
        span=attention.head_dim,
    )
    return declared if net.config.num_attention_heads > net.config.num_key_value_heads else declared[:1]
