"""ConvNeXts: the neurons inside each block, and the channels of each stage with all layers that carry them."""

from torch import nn

from compressor.surgery import Width
from compressor.surgery.sublayers import body, channels, head, neurons

MODEL_TYPES = ("convnext",)
OPSET = 18  # it has no attention, so a newer opset has no advantage


def blocks(net: nn.Module) -> list[str]:
    """List the blocks, first block first; every stage has its own list."""
    at, stages = f"{body(net)}encoder.stages", net.base_model.encoder.stages
    return [f"{at}.{i}.layers.{j}" for i, stage in enumerate(stages) for j in range(len(stage.layers))]


def widths(net: nn.Module) -> list[Width]:
    """List the neurons of each block and, after a stage, its channels: they pass layer norms."""
    declared, at, stages = [], body(net), net.base_model.encoder.stages
    writers, carriers = [f"{at}embeddings.patch_embeddings"], [f"{at}embeddings.layernorm"]
    for i, stage in enumerate(stages):
        layers = [f"{at}encoder.stages.{i}.layers.{j}" for j in range(len(stage.layers))]
        for j, (layer, block) in enumerate(zip(layers, stage.layers, strict=True)):
            declared.append(neurons(net, f"stage.{i}.block.{j}", f"{layer}.pwconv1", f"{layer}.pwconv2"))
            writers.append(f"{layer}.pwconv2")
            carriers += [f"{layer}.dwconv", f"{layer}.layernorm"]
            carriers += [f"{layer}.layer_scale_parameter"] * (block.layer_scale_parameter is not None)
        after = f"{at}encoder.stages.{i + 1}.downsampling_layer"
        norm, last = (f"{after}.0", [f"{after}.1"]) if i + 1 < len(stages) else (f"{at}layernorm", head(net))
        readers = [*(f"{layer}.pwconv1" for layer in layers), *last]
        if last:
            declared.append(channels(net, f"stage.{i}", writers, [*carriers, norm], readers, exact=False))
        writers, carriers = last, []
    return declared


def resized_(net: nn.Module, width: Width, n_units: int) -> None:
    """Do nothing: the forward pass reads every size from the layers."""
