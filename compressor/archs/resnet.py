"""ResNets: the channels inside each block, and the channels of each residual sum with its batch norms and shortcut."""

from itertools import pairwise

from torch import nn

from compressor.surgery import Width
from compressor.surgery.sublayers import body, channels, head

MODEL_TYPES = ("resnet",)
OPSET = 18  # it has no attention: nothing newer is of use
INNER = {2: ("channels",), 3: ("channels.reduce", "channels.spatial")}  # of basic and of bottleneck blocks


def blocks(net: nn.Module) -> list[str]:
    """Name the residual blocks, first block first; every stage has a list of its own."""
    at, stages = f"{body(net)}encoder.stages", net.base_model.encoder.stages
    return [f"{at}.{i}.layers.{j}" for i, stage in enumerate(stages) for j in range(len(stage.layers))]


def widths(net: nn.Module) -> list[Width]:
    """List the inner widths of each block; and where a sum ends, at a block with a shortcut layer, that of the sum."""
    found = []
    name, writers, readers = "stem.channels", [f"{body(net)}embedder.embedder"], []
    for at in blocks(net):
        block, (*_, i, _, j) = net.get_submodule(at), at.split(".")
        layers = [f"{at}.layer.{k}" for k in range(len(block.layer))]
        readers.append(f"{layers[0]}.convolution")
        if isinstance(block.shortcut, nn.Identity):
            writers.append(layers[-1])
        else:
            found.append(_width(net, name, writers, [*readers, f"{at}.shortcut.convolution"]))
            writers, readers = [f"{at}.shortcut", layers[-1]], []
        name = f"stage.{i}.channels"
        for inner, (writer, reader) in zip(INNER[len(layers)], pairwise(layers), strict=True):
            found.append(_width(net, f"stage.{i}.block.{j}.{inner}", [writer], [f"{reader}.convolution"]))
    if head(net):
        found.append(_width(net, name, writers, [*readers, *head(net)]))
    return found


def resized_(net: nn.Module, width: Width, n_units: int) -> None:
    """Tell nothing: the layers know their channels, and nobody else does."""


def _width(net: nn.Module, name: str, writers: list[str], readers: list[str]) -> Width:
    """Channels that convolutions write, each through a batch norm of its own."""
    convolutions, norms = ([f"{at}.{part}" for at in writers] for part in ("convolution", "normalization"))
    return channels(net, name, convolutions, norms, readers)
