"""T5: heads of each stack; cross-attention heads, head dimensions and neurons of each layer; the residual stream."""

from dataclasses import replace
from typing import Any

from torch import nn

from compressor.surgery import Cut, Width
from compressor.surgery.sublayers import body, head_dims, heads, named, neurons, of_attention, present, residual

MODEL_TYPES = ("t5", "mt5")  # values of ``config.model_type`` that this file handles
OPSET = 18  # at 23 torch 2.13 fails on an attention with a bias on its scores
READERS = ("lm_head", "classification_head.dense", "classifier", "qa_outputs")  # of the residual stream, in a head


def blocks(net: nn.Module) -> list[str]:
    """List the layers, those of the encoder first; each stack has its own list."""
    return [at for stack in _stacks(net).values() for at in stack]


def widths(net: nn.Module) -> list[Width]:
    """List the widths of each stack, then the only residual stream: the stacks share the table of words."""
    declared = []
    for name, stack in _stacks(net).items():
        declared.append(_heads(net, name, [f"{at}.layer.0.SelfAttention" for at in stack]))
        for i, at in enumerate(stack):
            declared += _layer(net, f"{name}.layer.{i}", at)
    return declared + _residual(net)


def resized_(net: nn.Module, width: Width, n_units: int) -> None:
    """Update the counts of the attentions; an FFN reads its size from its weights."""
    if not of_attention(width):
        return
    for cut in width.consumers:
        attention = net.get_submodule(cut.module.rpartition(".")[0])
        if width.kind == "head":
            attention.n_heads = n_units
        elif n_units:  # with none left the old size stays: there are no entries to divide among the heads
            attention.key_value_proj_dim = n_units
    for at in named(net, "EncDecAttention"):
        net.get_submodule(at).n_heads = 1  # only sizes a bias of zeros, which all layers take from the first


def _stacks(net: nn.Module) -> dict[str, list[str]]:
    """List the layers of the stacks that the network has."""
    stacks = {}
    for name in ("encoder", "decoder"):
        if hasattr(net.base_model, name):
            stacks[name] = [f"{body(net)}{name}.block.{i}" for i in range(len(getattr(net.base_model, name).block))]
    return stacks


def _heads(net: nn.Module, name: str, stack: list[str]) -> Width:
    """Heads of all layers of a stack: all add the first layer's table of position biases to their scores."""
    layers = [heads(net, name, *_attention(net, at)) for at in stack]
    return replace(
        layers[0],
        producers=tuple(cut for layer in layers for cut in layer.producers),
        consumers=tuple(cut for layer in layers for cut in layer.consumers),
        carriers=(Cut(f"{stack[0]}.relative_attention_bias", "out"),),
    )


def _layer(net: nn.Module, name: str, at: str) -> list[Width]:
    """Widths that belong to one layer, which has a third part if it attends to another stack."""
    own, *cross, last = (f"{at}.layer.{i}" for i in range(len(net.get_submodule(at).layer)))
    declared = [head_dims(net, name, *_attention(net, f"{own}.SelfAttention"))]
    for part in cross:
        attention = _attention(net, f"{part}.EncDecAttention")
        declared.append(heads(net, name, *attention, what="cross_heads"))
        declared.append(head_dims(net, name, *attention, what="cross_head_dims"))
    ffn = f"{last}.DenseReluDense"
    inputs = present(net, f"{ffn}.wi", f"{ffn}.wi_0", f"{ffn}.wi_1")  # plain or gated
    return [*declared, neurons(net, name, inputs, f"{ffn}.wo")]


def _attention(net: nn.Module, at: str) -> tuple[str, str, str, str, Any]:
    """Paths of the layers of an attention, and the span of its heads."""
    return f"{at}.q", f"{at}.k", f"{at}.v", f"{at}.o", net.get_submodule(at).key_value_proj_dim


def _residual(net: nn.Module) -> list[Width]:
    """List the residual stream, unless it is the output."""
    readers = present(net, *READERS)
    stream = residual(
        net.base_model.shared.embedding_dim,
        named(net, "shared", "embed_tokens", "o", "wo"),
        named(net, "layer_norm", "final_layer_norm"),
        [*named(net, "q", "k", "v", "wi", "wi_0", "wi_1"), *readers],
    )
    return [stream] if readers else []
