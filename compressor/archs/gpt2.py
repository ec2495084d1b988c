"""GPT-2: heads, head dimensions and neurons of each layer, and the residual stream."""

from typing import Any

from torch import nn

from compressor.surgery import Cut, Width
from compressor.surgery.sublayers import body, head, named, neurons, number_slots_, of_attention, residual

MODEL_TYPES = ("gpt2",)  # values of ``config.model_type`` that this file handles


def blocks(net: nn.Module) -> list[str]:
    """List the layers, first layer first."""
    return [f"{body(net)}h.{i}" for i in range(len(net.base_model.h))]


def widths(net: nn.Module) -> list[Width]:
    """List the heads, the head dimensions and the neurons of each layer, then the residual stream."""
    declared = []
    for i, at in enumerate(blocks(net)):
        declared += _attention(net, f"layer.{i}", f"{at}.attn")
        declared.append(neurons(net, f"layer.{i}", f"{at}.mlp.c_fc", f"{at}.mlp.c_proj"))
    stream = residual(
        net.base_model.wte.embedding_dim,
        named(net, "wte", "wpe", "c_proj"),
        named(net, "ln_1", "ln_2", "ln_f"),
        [*named(net, "c_attn", "c_fc"), *head(net)],
    )
    return [*declared, stream] if head(net) else declared


def resized_(net: nn.Module, width: Width, n_units: int) -> None:
    """Update the counts of an attention, not its scale; an MLP reads its size from its weights."""
    if not of_attention(width):
        return
    attention = net.get_submodule(width.consumers[0].module.rpartition(".")[0])
    if width.kind == "dimension" and n_units:  # with none left the old size stays: it is a divisor below
        attention.head_dim = n_units
    n_entries = attention.c_attn.nf // 3
    attention.num_heads = n_entries // attention.head_dim
    attention.split_size = [n_entries] * 3  # a list, because torch splits 0 entries by the number 0 into one part
    renumber_(net)


def renumber_(net: nn.Module) -> None:
    """Assign the attentions their slots in the cache."""
    attentions: list[Any] = [net.get_submodule(at).attn for at in blocks(net)]
    number_slots_(attentions, [attention.num_heads for attention in attentions])


def _attention(net: nn.Module, layer: str, at: str) -> list[Width]:
    """Widths of an attention whose fused layer writes all queries, then all keys, then all values."""
    fused, output, span = f"{at}.c_attn", f"{at}.c_proj", net.get_submodule(at).head_dim
    n_entries = net.get_submodule(fused).nf // 3
    n_heads = n_entries // span
    heads = Width(
        f"{layer}.heads",
        "head",
        n_heads,
        (
            Cut(fused, "out", span, role="routes"),
            Cut(fused, "out", span, n_entries, role="routes"),
            Cut(fused, "out", span, 2 * n_entries),
        ),
        (Cut(output, "in", span),),
        layer=layer,
    )
    head_dims = Width(
        f"{layer}.head_dims",
        "dimension",
        span if n_heads else 0,
        (
            Cut(fused, "out", repeat=n_heads, role="scores"),
            Cut(fused, "out", offset=n_entries, repeat=n_heads, role="scores"),
            Cut(fused, "out", offset=2 * n_entries, repeat=n_heads),
        ),
        (Cut(output, "in", repeat=n_heads),),
        layer=layer,
        crosses=True,
    )
    return [heads, head_dims]
