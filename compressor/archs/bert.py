"""BERT encoders: attention heads and FFN neurons, layer by layer."""

from torch import nn

from compressor.surgery import Cut, Width

MODEL_TYPES = ("bert",)  # values of ``config.model_type`` this file answers for


def blocks(net: nn.Module) -> list[str]:
    """Name the encoder layers, first layer first."""
    return [f"bert.encoder.layer.{i}" for i in range(len(net.bert.encoder.layer))]


def widths(net: nn.Module) -> list[Width]:
    """List the head width and the FFN width of each layer, first layer first."""
    found = []
    for i, at in enumerate(blocks(net)):
        layer = net.get_submodule(at)
        attention, ffn = layer.attention.self, layer.intermediate.dense
        span = attention.attention_head_size
        heads = Width(
            name=f"layer.{i}.heads",
            kind="head",
            size=attention.num_attention_heads,
            producers=(
                Cut(f"{at}.attention.self.query", "out", span, routes=True),
                Cut(f"{at}.attention.self.key", "out", span, routes=True),
                Cut(f"{at}.attention.self.value", "out", span),
            ),
            consumers=(Cut(f"{at}.attention.output.dense", "in", span),),
        )
        neurons = Width(
            name=f"layer.{i}.ffn",
            kind="neuron",
            size=ffn.out_features,
            producers=(Cut(f"{at}.intermediate.dense", "out"),),
            consumers=(Cut(f"{at}.output.dense", "in"),),
        )
        found += [heads, neurons]
    return found


def resized_(net: nn.Module, width: Width, n_units: int) -> None:
    """Tell an attention block its new head count; an FFN reads its size from its weights."""
    if width.kind == "head":
        attention = net.get_submodule(width.producers[0].module.rpartition(".")[0])
        attention.num_attention_heads = n_units
        attention.all_head_size = n_units * attention.attention_head_size
