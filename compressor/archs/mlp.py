"""Our networks for tables: the input features, and the hidden neurons of the encoder and of the decoder."""

from torch import nn

from compressor.surgery.widths import Cut, Width

MODEL_TYPES = ("mlp", "autoencoder")
OPSET = 18  # plain products: a newer opset has no advantage


def blocks(net: nn.Module) -> list[str]:
    """List no layer: each one reads the neurons of the previous one, so none can be removed or compared alone."""
    return []


def widths(net: nn.Module) -> list[Width]:
    """List the input features, then the neurons of each hidden layer, first layer first."""
    declared = [
        Width(
            "inputs",
            "input",
            len(net.inputs.features),
            producers=(),
            consumers=(Cut(_readers("encoder", net.encoder)[0], "in"),),
            carriers=(Cut("inputs.features", "out"),),
        )
    ]
    has_decoder = hasattr(net, "decoder")
    declared += _neurons("encoder", net.encoder, "encoder." if has_decoder else "")
    return declared + (_neurons("decoder", net.decoder, "decoder.") if has_decoder else [])


def resized_(net: nn.Module, width: Width, n_units: int) -> None:
    """Do nothing: the forward pass reads every size from the weights."""


def _readers(at: str, perceptron: nn.Module) -> list[str]:
    """Paths of the linear layers, the first hidden one first."""
    return [*(f"{at}.layers.{i}.dense" for i in range(len(perceptron.layers))), f"{at}.output"]


def _neurons(at: str, perceptron: nn.Module, prefix: str) -> list[Width]:
    readers = _readers(at, perceptron)
    return [
        Width(
            f"{prefix}layer.{i}.ffn",
            "neuron",
            layer.dense.out_features,
            producers=(Cut(f"{at}.layers.{i}.dense", "out"),),
            consumers=(Cut(readers[i + 1], "in"),),
            carriers=() if layer.norm is None else (Cut(f"{at}.layers.{i}.norm", "out"),),
            layer=f"{prefix}layer.{i}",
        )
        for i, layer in enumerate(perceptron.layers)
    ]
