"""Networks that no other file handles: exact widths found by tracing a forward pass.

Heads are not found, because they are hidden in a reshape.
"""

from typing import Any

import torch
from torch import nn

from compressor.errors import InputError
from compressor.inputs import image
from compressor.surgery import Width
from compressor.surgery.marks import mark_, marked
from compressor.surgery.tracing.find import Traced, trace

MODEL_TYPES = ()  # none by name: it handles all families that no other file does
OPSET = (23, 18)  # the second where the first is refused: rotary tables, biases on the scores
_BATCH_SIZE, _LENGTH = 2, 7


def blocks(net: nn.Module) -> list[str]:
    """List the members of the longest list of layers."""
    lists = [(name, module) for name, module in net.named_modules() if isinstance(module, nn.ModuleList)]
    name, longest = max(lists, key=lambda named: len(named[1]), default=("", ()))
    return [f"{name}.{i}" for i in range(len(longest))]


def widths(net: Any) -> list[Width]:
    """List the exact widths of the traced network, at their current sizes."""
    traced: Traced | None = marked(net, "_compressor_traced")
    if traced is None:  # kept with the network: cuts change nothing but sizes
        traced = _traced(net)
        mark_(net, "_compressor_traced", traced)
    return [width for width in traced.widths(net) if width.exact]


def resized_(net: nn.Module, width: Width, n_units: int) -> None:
    """Do nothing: a module that reads a size from anywhere but its weights fails the proof."""


def _traced(net: Any) -> Traced:
    try:
        return trace(net, _example(net))
    except InputError as error:
        raise InputError(f"model: no file handles the family {net.config.model_type!r}; {error}") from error


def _example(net: Any) -> dict[str, object]:
    """Make arguments of the two kinds that transformers' classifiers take."""
    with torch.device(net.device):
        if net.main_input_name == "pixel_values":
            return {"pixel_values": torch.zeros(_BATCH_SIZE, *image.shape(net.config))}
        ids = torch.ones(_BATCH_SIZE, _LENGTH, dtype=torch.long)
        if net.config.is_encoder_decoder:
            ids[:, -1] = net.config.eos_token_id  # where their classifiers read
        cache = {"use_cache": False} if hasattr(net.config, "use_cache") else {}
        return {net.main_input_name: ids, "attention_mask": torch.ones_like(ids), **cache}
