"""Swin transformers: heads with their position biases, head dimensions and neurons of each layer, by stage."""

from dataclasses import replace

from torch import nn

from compressor.surgery import Cut, Width
from compressor.surgery.sublayers import body, head, head_dims, heads, neurons, residual

MODEL_TYPES = ("swin",)
OPSET = 18  # at 23 torch 2.13 fails on the attention inside windows


def blocks(net: nn.Module) -> list[str]:
    """List the layers, first layer first; every stage has its own list."""
    at, stages = f"{body(net)}encoder.layers", net.base_model.encoder.layers
    return [f"{at}.{i}.blocks.{j}" for i, stage in enumerate(stages) for j in range(len(stage.blocks))]


def widths(net: nn.Module) -> list[Width]:
    """List the heads, the head dimensions and the neurons of each layer, then the dimensions of each stage."""
    return [width for at in blocks(net) for width in _layer(net, at)] + _residuals(net)


def resized_(net: nn.Module, width: Width, n_units: int) -> None:
    """Update the counts of an attention; the other layers read their sizes from their weights."""
    attention = net.get_submodule(width.producers[0].module.rpartition(".")[0])
    if width.kind == "head":
        attention.num_attention_heads = n_units
    elif n_units and width.what == "head_dims":  # with none left the old size stays: there are no entries to divide
        attention.head_dim = n_units


def _layer(net: nn.Module, at: str) -> list[Width]:
    *_, i, _, j = at.split(".")
    name, attention = f"stage.{i}.layer.{j}", f"{at}.attention"
    layers = (f"{attention}.q_proj", f"{attention}.k_proj", f"{attention}.v_proj", f"{attention}.o_proj")
    span = net.get_submodule(attention).head_dim
    whole = heads(net, name, *layers, span)
    bias = Cut(f"{attention}.relative_position_bias.relative_position_bias_table", "out", role="routes")
    return [
        replace(whole, producers=(*whole.producers, bias)),
        head_dims(net, name, *layers, span),
        neurons(net, name, f"{at}.mlp.fc1", f"{at}.mlp.fc2"),
    ]


def _residuals(net: nn.Module) -> list[Width]:
    """Dimensions that the layers of a stage add to; the merging layer at its end reads those of four patches."""
    declared, at, stages = [], f"{body(net)}encoder.layers", net.base_model.encoder.layers
    writers, carriers = _embeddings(net)
    for i, stage in enumerate(stages):
        layers = [f"{at}.{i}.blocks.{j}" for j in range(len(stage.blocks))]
        merging, is_last = f"{at}.{i}.downsample", stage.downsample is None
        width = residual(
            len(stage.blocks[0].layernorm_before.weight),
            [*writers, *_paths(layers, "attention.o_proj", "mlp.fc2")],
            [*carriers, *_paths(layers, "layernorm_before", "layernorm_after")],
            _paths(layers, "attention.q_proj", "attention.k_proj", "attention.v_proj", "mlp.fc1"),
            layer=f"stage.{i}",
        )
        norm = Cut(f"{body(net)}layernorm", "out") if is_last else Cut(f"{merging}.norm", "out", repeat=4)
        readers = [Cut(path, "in") for path in head(net)] if is_last else [Cut(f"{merging}.reduction", "in", repeat=4)]
        if readers:
            declared.append(replace(width, carriers=(*width.carriers, norm), consumers=(*width.consumers, *readers)))
        writers, carriers = [f"{merging}.reduction"], []
    return declared


def _embeddings(net: nn.Module) -> tuple[list[str], list[str]]:
    """Return the paths that write the first stage's dimensions, and of the normalisation after them."""
    at, embeddings = f"{body(net)}embeddings", net.base_model.embeddings
    optional = [name for name in ("mask_token", "position_embeddings") if getattr(embeddings, name) is not None]
    return _paths([at], "patch_embeddings.projection", *optional), [f"{at}.norm"]


def _paths(layers: list[str], *names: str) -> list[str]:
    return [f"{at}.{name}" for at in layers for name in names]
