"""Networks that no other file names: widths found by unifying the dimensions of all tensors of a traced forward pass.

A class of dimensions that linear layers or convolutions write and read is a width, unless one of them must keep its
size or leaves the network. Heads are not found: they hide in a reshape.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.fx import Node
from transformers.pytorch_utils import Conv1D

from compressor.errors import InputError
from compressor.surgery import Cut, Width, layers
from compressor.surgery.tracing import classes_of

MODEL_TYPES = ()  # none by name: it answers for all that no other file does
_BATCH_SIZE, _LENGTH = 2, 7


def blocks(net: nn.Module) -> list[str]:
    """Name the members of the longest list of layers."""
    lists = [(name, module) for name, module in net.named_modules() if isinstance(module, nn.ModuleList)]
    name, longest = max(lists, key=lambda found: len(found[1]), default=("", ()))
    return [f"{name}.{i}" for i in range(len(longest))]


def widths(net: Any) -> list[Width]:
    """List the widths of the traced network, at the sizes they have now."""
    if not hasattr(net, "traced_widths"):  # kept with the network: cuts change sizes only
        net.traced_widths = tuple(_trace(net))
    return [replace(width, size=_size(net, width)) for width in net.traced_widths]


def resized_(net: nn.Module, width: Width, n_units: int) -> None:
    """Have nothing to tell: whatever reads a size from anywhere but its weights fails the proof."""


def _size(net: nn.Module, width: Width) -> int:
    weight = layers.slots(net, replace(width, size=0), width.producers[0])[0]
    return weight.tensor.shape[weight.axis]


def _trace(net: nn.Module) -> Iterator[Width]:
    """Trace a forward pass, and turn every class of dimensions that can be cut into a width."""
    program = _program(net)
    classes = classes_of(program.graph)
    parameters = _parameters(program)
    outside = {node for node in program.graph.nodes if node.op == "placeholder"} - set(parameters)
    for node in (*outside, *program.graph.output_node().all_input_nodes):
        classes.mix(node)
    for members in classes.of(parameters):
        width = _width(net, [(parameters[node], axis) for node, axis in members])
        if width is not None:
            yield width


def _program(net: Any) -> ExportedProgram:
    modes = [(module, module.training) for module in net.modules()]
    try:
        return torch.export.export(net.eval(), (), kwargs=_example(net), strict=False)
    except Exception as error:  # the exporter's own share no base
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        family = net.config.model_type
        raise InputError(f"model: no file knows the family {family!r}, and it cannot be traced ({reason})") from error
    finally:
        for module, mode in modes:
            module.training = mode


def _example(net: Any) -> dict[str, object]:
    """Make arguments of the two kinds that transformers' classifiers take."""
    with torch.device(net.device):
        if net.main_input_name == "pixel_values":
            side = net.config.image_size
            height, width = (side, side) if isinstance(side, int) else side
            return {"pixel_values": torch.zeros(_BATCH_SIZE, net.config.num_channels, height, width)}
        ids = torch.ones(_BATCH_SIZE, _LENGTH, dtype=torch.long)
        cache = {"use_cache": False} if hasattr(net.config, "use_cache") else {}
        return {net.main_input_name: ids, "attention_mask": torch.ones_like(ids), **cache}


def _parameters(program: ExportedProgram) -> dict[Node, str]:
    """Map what stands for parameters and buffers in the graph to their names in the network."""
    signature = program.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    return {node: names[node.name] for node in program.graph.nodes if node.name in names}


def _width(net: nn.Module, members: Sequence[tuple[str, int]]) -> Width | None:
    """Make a width of parameters and the axis of each; None where nothing writes or reads it, or an axis is no cut."""
    producers: list[Cut] = []
    consumers: list[Cut] = []
    carriers: list[Cut] = []
    for name, axis in members:
        path, _, tensor = name.rpartition(".")
        layer = net.get_submodule(path)
        if tensor == "bias" or tensor.startswith("running_"):
            continue  # goes with its weight
        if not isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Embedding | Conv1D):
            is_norm = tensor == "weight" and isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)
            carriers.append(Cut(path if is_norm else name, "out"))
        elif getattr(layer, "groups", 1) > 1:
            carriers.append(Cut(path, "out"))
        else:
            is_out = axis == (1 if isinstance(layer, nn.Embedding | Conv1D) else 0)
            (producers if is_out else consumers).append(Cut(path, "out" if is_out else "in"))
    if not producers or not consumers:
        return None
    is_linear = all(not isinstance(net.get_submodule(cut.module), nn.Conv1d | nn.Conv2d) for cut in producers)
    name = f"{producers[0].module}.{'ffn' if is_linear else 'channels'}"
    kind = "neuron" if is_linear else "channel"
    return Width(name, kind, 0, tuple(producers), tuple(consumers), tuple(carriers))
