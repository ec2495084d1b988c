"""Vision transformers, DeiT among them: heads, head dimensions and neurons of each layer, and the residual stream."""

from torch import nn

from compressor.surgery import Width
from compressor.surgery.sublayers import body, head, head_dims, heads, neurons, residual

MODEL_TYPES = ("vit", "deit")  # values of ``config.model_type`` that this file handles
TOKENS = ("cls_token", "distillation_token", "mask_token", "position_embeddings")  # those that a network has


def blocks(net: nn.Module) -> list[str]:
    """List the encoder layers, first layer first."""
    return [f"{body(net)}layers.{i}" for i in range(len(net.base_model.layers))]


def widths(net: nn.Module) -> list[Width]:
    """List the heads, the head dimensions and the neurons of each layer, then the residual stream."""
    declared = []
    for i, at in enumerate(blocks(net)):
        attention = f"{at}.attention"
        layers = (f"{attention}.q_proj", f"{attention}.k_proj", f"{attention}.v_proj", f"{attention}.o_proj")
        span = net.get_submodule(attention).head_dim
        declared += [
            heads(net, f"layer.{i}", *layers, span),
            head_dims(net, f"layer.{i}", *layers, span),
            neurons(net, f"layer.{i}", f"{at}.mlp.fc1", f"{at}.mlp.fc2"),
        ]
    return declared + [_residual(net)] * bool(head(net))


def resized_(net: nn.Module, width: Width, n_units: int) -> None:
    """Update the counts of an attention; the other layers read their sizes from their weights."""
    attention = net.get_submodule(width.producers[0].module.rpartition(".")[0])
    if width.kind == "head":
        attention.num_attention_heads = n_units
    elif n_units and width.what == "head_dims":  # with none left the old size stays: there are no entries to divide
        attention.head_dim = n_units


def _residual(net: nn.Module) -> Width:
    at, embeddings = f"{body(net)}embeddings", net.base_model.embeddings
    tokens = [f"{at}.{name}" for name in TOKENS if getattr(embeddings, name, None) is not None]
    return residual(
        net.base_model.layernorm.weight.numel(),
        [f"{at}.patch_embeddings.projection", *tokens, *_paths(net, "attention.o_proj", "mlp.fc2")],
        [*_paths(net, "layernorm_before", "layernorm_after"), f"{body(net)}layernorm"],
        [*_paths(net, "attention.q_proj", "attention.k_proj", "attention.v_proj", "mlp.fc1"), *head(net)],
    )


def _paths(net: nn.Module, *names: str) -> list[str]:
    return [f"{at}.{name}" for at in blocks(net) for name in names]
