"""BART: heads, head dimensions and neurons of each layer of both stacks, cross-attention too; the residual stream."""

from typing import Any

from torch import nn

from compressor.surgery import Width
from compressor.surgery.sublayers import (
    body,
    head_dims,
    heads,
    named,
    neurons,
    number_slots_,
    of_attention,
    present,
    residual,
)

MODEL_TYPES = ("bart",)  # values of ``config.model_type`` that this file handles
READERS = ("lm_head", "classification_head.dense", "qa_outputs")  # of the residual stream, in a head


def blocks(net: nn.Module) -> list[str]:
    """List the layers, those of the encoder first; each stack has its own list."""
    return [at for stack in _stacks(net).values() for at in stack]


def widths(net: nn.Module) -> list[Width]:
    """List the widths of each layer, then the only residual stream: the stacks share the table of words."""
    declared = []
    for name, stack in _stacks(net).items():
        for i, at in enumerate(stack):
            declared += _layer(net, f"{name}.layer.{i}", at)
    return declared + _residual(net)


def resized_(net: nn.Module, width: Width, n_units: int) -> None:
    """Update the counts of an attention, not its scale; an FFN reads its size from its weights."""
    if not of_attention(width):
        return
    attention = net.get_submodule(width.consumers[0].module.rpartition(".")[0])
    if width.kind == "dimension" and n_units:  # with none left the old size stays: it is a divisor below
        attention.head_dim = n_units
    attention.num_heads = attention.q_proj.out_features // attention.head_dim
    renumber_(net)


def renumber_(net: nn.Module) -> None:
    """Assign the attentions of the decoder their slots in the cache."""
    for name in ("self_attn", "encoder_attn"):
        attentions: list[Any] = [net.get_submodule(f"{at}.{name}") for at in _stacks(net).get("decoder", [])]
        number_slots_(attentions, [attention.num_heads for attention in attentions])


def _stacks(net: nn.Module) -> dict[str, list[str]]:
    """List the layers of the stacks that the network has."""
    stacks = {}
    for name in ("encoder", "decoder"):
        if hasattr(net.base_model, name):
            stacks[name] = [f"{body(net)}{name}.layers.{i}" for i in range(len(getattr(net.base_model, name).layers))]
    return stacks


def _layer(net: nn.Module, name: str, at: str) -> list[Width]:
    """Widths that belong to one layer."""
    declared = []
    for part, prefix in (("self_attn", ""), ("encoder_attn", "cross_")):
        if hasattr(net.get_submodule(at), part):
            attention = _attention(net, f"{at}.{part}")
            declared.append(heads(net, name, *attention, what=f"{prefix}heads"))
            declared.append(head_dims(net, name, *attention, what=f"{prefix}head_dims"))
    return [*declared, neurons(net, name, f"{at}.fc1", f"{at}.fc2")]


def _attention(net: nn.Module, at: str) -> tuple[str, str, str, str, Any]:
    """Paths of the layers of an attention, and the span of its heads."""
    return f"{at}.q_proj", f"{at}.k_proj", f"{at}.v_proj", f"{at}.out_proj", net.get_submodule(at).head_dim


def _residual(net: nn.Module) -> list[Width]:
    """List the residual stream, unless it is the output."""
    readers = present(net, *READERS)
    stream = residual(
        net.get_input_embeddings().embedding_dim,
        named(net, "shared", "embed_tokens", "embed_positions", "out_proj", "fc2"),
        named(net, "layernorm_embedding", "self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm"),
        [*named(net, "q_proj", "k_proj", "v_proj", "fc1"), *readers],
    )
    return [stream] if readers else []
