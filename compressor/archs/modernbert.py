"""ModernBERT encoders: heads and gated MLP neurons out of fused layers, layer by layer, and the residual sum."""

from torch import nn

from compressor.surgery import Cut, Width
from compressor.surgery.sublayers import body, present, streams

MODEL_TYPES = ("modernbert",)  # values of ``config.model_type`` that this file handles
OPSET = 22  # onnxruntime 1.31 refuses the RotaryEmbedding of opset 23 for batches of more than one


def blocks(net: nn.Module) -> list[str]:
    """List the encoder layers, first layer first."""
    return [f"{body(net)}layers.{i}" for i in range(len(net.base_model.layers))]


def widths(net: nn.Module) -> list[Width]:
    """List the heads and the MLP neurons of each layer, then the residual sum.

    The dimensions of a head are rotated in pairs by angles that all layers share, so none can be removed alone.
    """
    declared = []
    for i, at in enumerate(blocks(net)):
        layer = net.get_submodule(at)
        declared.append(_heads(f"layer.{i}", f"{at}.attn", layer.attn.Wqkv.out_features, layer.attn.head_dim))
        gated = Cut(f"{at}.mlp.Wi", "out", repeat=2)  # the activated half, then the half that it gates
        n_neurons = layer.mlp.Wi.out_features // 2
        readers = (Cut(f"{at}.mlp.Wo", "in"),)
        declared.append(Width(f"layer.{i}.ffn", "neuron", n_neurons, (gated,), readers, layer=f"layer.{i}"))
    return declared + _streams(net)


def resized_(net: nn.Module, width: Width, n_units: int) -> None:
    """Do nothing: the forward pass reads every size from the layers."""


def _heads(layer: str, at: str, n_rows: int, span: int) -> Width:
    """Heads of a fused layer: all queries, then all keys, then all values."""
    part = n_rows // 3
    producers = (
        Cut(f"{at}.Wqkv", "out", span, role="routes"),
        Cut(f"{at}.Wqkv", "out", span, offset=part, role="routes"),
        Cut(f"{at}.Wqkv", "out", span, offset=2 * part),
    )
    return Width(f"{layer}.heads", "head", part // span, producers, (Cut(f"{at}.Wo", "in", span),), layer=layer)


def _streams(net: nn.Module) -> list[Width]:
    """List the residual sum, unless it is the output; a language head is tied to the table of the vocabulary."""
    at = body(net)
    if not at:
        return []
    decoder = present(net, "decoder")
    writers, norms = (["head.dense"], ["head.norm"]) if decoder else ([], [])
    entry = ([f"{at}embeddings.tok_embeddings", *writers], [f"{at}embeddings.norm", *norms], decoder)
    layers = blocks(net)
    inner = (
        [f"{layer}.{part}" for layer in layers for part in ("attn.Wo", "mlp.Wo")],
        present(net, *(f"{layer}.{norm}" for layer in layers for norm in ("attn_norm", "mlp_norm")), f"{at}final_norm"),
        [f"{layer}.{part}" for layer in layers for part in ("attn.Wqkv", "mlp.Wi")] + ["head.dense"],
    )
    return streams(net, entry, None, inner)
