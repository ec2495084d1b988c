"""Vision transformers: attention heads and MLP neurons, layer by layer."""

from torch import nn

from compressor.surgery import Cut, Width

MODEL_TYPES = ("vit",)  # values of ``config.model_type`` this file answers for


def blocks(net: nn.Module) -> list[str]:
    """Name the encoder layers, first layer first."""
    return [f"vit.layers.{i}" for i in range(len(net.vit.layers))]


def widths(net: nn.Module) -> list[Width]:
    """List the head width and the FFN width of each layer, first layer first."""
    found = []
    for i, at in enumerate(blocks(net)):
        layer = net.get_submodule(at)
        span = layer.attention.head_dim
        heads = Width(
            name=f"layer.{i}.heads",
            kind="head",
            size=layer.attention.num_attention_heads,
            producers=(
                Cut(f"{at}.attention.q_proj", "out", span, routes=True),
                Cut(f"{at}.attention.k_proj", "out", span, routes=True),
                Cut(f"{at}.attention.v_proj", "out", span),
            ),
            consumers=(Cut(f"{at}.attention.o_proj", "in", span),),
        )
        neurons = Width(
            name=f"layer.{i}.ffn",
            kind="neuron",
            size=layer.mlp.fc1.out_features,
            producers=(Cut(f"{at}.mlp.fc1", "out"),),
            consumers=(Cut(f"{at}.mlp.fc2", "in"),),
        )
        found += [heads, neurons]
    return found


def resized_(net: nn.Module, width: Width, n_units: int) -> None:
    """Tell an attention block its new head count; an MLP reads its size from its weights."""
    if width.kind == "head":
        attention = net.get_submodule(width.producers[0].module.rpartition(".")[0])
        attention.num_attention_heads = n_units
