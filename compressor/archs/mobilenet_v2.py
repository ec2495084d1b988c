"""MobileNet-v2: the channels that each block expands to, and the channels of each sum over blocks."""

from torch import nn

from compressor.surgery import Width
from compressor.surgery.sublayers import body, channels, head

MODEL_TYPES = ("mobilenet_v2",)
OPSET = 18  # it has no attention, so a newer opset has no advantage


def blocks(net: nn.Module) -> list[str]:
    """List the inverted residual blocks, first block first."""
    return [f"{body(net)}layer.{i}" for i in range(len(net.base_model.layer))]


def widths(net: nn.Module) -> list[Width]:
    """List the expanded channels of each block, the sum of each stage, and the channels that the classifier reads."""
    declared, last = [], f"{body(net)}conv_1x1"
    stages = _stages(net)
    for i, (stage, after) in enumerate(zip(stages, [*stages[1:], []], strict=True)):
        name = f"stage.{i - 1}" if i else "stem"
        declared += [_expanded(net, f"{name}.block.{j}", at) for j, at in enumerate(stage)]
        writers = [f"{at}.reduce_1x1" for at in stage]
        readers = [f"{at}.expand_1x1.convolution" for at in [*stage[1:], *after[:1]]] or [f"{last}.convolution"]
        declared.append(channels(net, name, *_parts(writers), readers))
    if head(net):
        declared.append(channels(net, "head", *_parts([last]), head(net)))
    return declared


def resized_(net: nn.Module, width: Width, n_units: int) -> None:
    """Do nothing: the forward pass reads every size from the layers."""


def _stages(net: nn.Module) -> list[list[str]]:
    """Group the blocks by the sum that they write to, the stem first; a block without a shortcut starts a stage."""
    stages = [[f"{body(net)}conv_stem"]]
    for at in blocks(net):
        if net.get_submodule(at).use_residual:
            stages[-1].append(at)
        else:
            stages.append([at])
    return stages


def _expanded(net: nn.Module, layer: str, at: str) -> Width:
    """Channels between the two pointwise convolutions of a block; the stem may write them from the image."""
    first = "first_conv" if net.get_submodule(at).expand_1x1 is None else "expand_1x1"
    convolutions, norms = _parts([f"{at}.{first}", f"{at}.conv_3x3"])
    return channels(net, layer, convolutions[:1], [*norms, *convolutions[1:]], [f"{at}.reduce_1x1.convolution"])


def _parts(layers: list[str]) -> tuple[list[str], list[str]]:
    """Convolutions and batch norms of layers."""
    return [f"{at}.convolution" for at in layers], [f"{at}.normalization" for at in layers]
