"""ResNets: the channels inside each block, and the channels of each residual sum with its batch norms and shortcut."""

from itertools import pairwise

from torch import nn

from compressor.surgery import Width
from compressor.surgery.sublayers import body, channels, head

MODEL_TYPES = ("resnet",)
OPSET = 18  # it has no attention, so a newer opset has no advantage
INNER = {2: ("channels",), 3: ("channels.reduce", "channels.spatial")}  # of basic and of bottleneck blocks


def blocks(net: nn.Module) -> list[str]:
    """List the residual blocks, first block first; every stage has its own list."""
    at, stages = f"{body(net)}encoder.stages", net.base_model.encoder.stages
    return [f"{at}.{i}.layers.{j}" for i, stage in enumerate(stages) for j in range(len(stage.layers))]


def widths(net: nn.Module) -> list[Width]:
    """List the inner widths of each block, and that of each sum where it ends, at a block with a shortcut layer."""
    declared = []
    layer, writers, readers = "stem", [f"{body(net)}embedder.embedder"], []
    for at in blocks(net):
        block, (*_, i, _, j) = net.get_submodule(at), at.split(".")
        inner = [f"{at}.layer.{k}" for k in range(len(block.layer))]
        readers.append(f"{inner[0]}.convolution")
        if isinstance(block.shortcut, nn.Identity):
            writers.append(inner[-1])
        else:
            declared.append(_width(net, layer, writers, [*readers, f"{at}.shortcut.convolution"]))
            writers, readers = [f"{at}.shortcut", inner[-1]], []
        layer = f"stage.{i}"
        for what, (writer, reader) in zip(INNER[len(inner)], pairwise(inner), strict=True):
            declared.append(_width(net, f"stage.{i}.block.{j}", [writer], [f"{reader}.convolution"], what))
    if head(net):
        declared.append(_width(net, layer, writers, [*readers, *head(net)]))
    return declared


def resized_(net: nn.Module, width: Width, n_units: int) -> None:
    """Do nothing: the forward pass reads every size from the layers."""


def _width(net: nn.Module, layer: str, writers: list[str], readers: list[str], what: str = "channels") -> Width:
    """Channels that convolutions write, each through its own batch norm."""
    convolutions, norms = ([f"{at}.{part}" for at in writers] for part in ("convolution", "normalization"))
    return channels(net, layer, convolutions, norms, readers, what=what)
