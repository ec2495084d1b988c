"""DistilBERT encoders: attention heads and FFN neurons, layer by layer."""

from torch import nn

from compressor.surgery import Cut, Width

MODEL_TYPES = ("distilbert",)  # values of ``config.model_type`` this file answers for


def blocks(net: nn.Module) -> list[str]:
    """Name the transformer blocks, first block first."""
    return [f"distilbert.transformer.layer.{i}" for i in range(len(net.distilbert.transformer.layer))]


def widths(net: nn.Module) -> list[Width]:
    """List the head width and the FFN width of each block, first block first."""
    found = []
    for i, at in enumerate(blocks(net)):
        block = net.get_submodule(at)
        span = block.attention.attention_head_size
        heads = Width(
            name=f"layer.{i}.heads",
            kind="head",
            size=block.attention.n_heads,
            producers=(
                Cut(f"{at}.attention.q_lin", "out", span, routes=True),
                Cut(f"{at}.attention.k_lin", "out", span, routes=True),
                Cut(f"{at}.attention.v_lin", "out", span),
            ),
            consumers=(Cut(f"{at}.attention.out_lin", "in", span),),
        )
        neurons = Width(
            name=f"layer.{i}.ffn",
            kind="neuron",
            size=block.ffn.lin1.out_features,
            producers=(Cut(f"{at}.ffn.lin1", "out"),),
            consumers=(Cut(f"{at}.ffn.lin2", "in"),),
        )
        found += [heads, neurons]
    return found


def resized_(net: nn.Module, width: Width, n_units: int) -> None:
    """Tell an attention block its new head count; an FFN reads its size from its weights."""
    if width.kind == "head":
        attention = net.get_submodule(width.producers[0].module.rpartition(".")[0])
        attention.n_heads = n_units
