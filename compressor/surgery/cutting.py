"""Replace the parameters of a width's layers by smaller ones, without the entries of the removed units."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from compressor.nn import FactorizedConv1x1, FactorizedLinear
from compressor.surgery import layers
from compressor.surgery.layers import Constant
from compressor.surgery.widths import Width


def cut_(net: nn.Module, cuts: Sequence[tuple[Width, Tensor]]) -> None:
    """Remove the units where a width's mask is false; all widths describe the network before the cut."""
    emptied = [name for width, mask in cuts if width.size and not mask.any() for name in _emptied(net, width)]
    smaller = _smaller(net, cuts)
    for module in net.modules():
        tensors = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        for name, tensor in tensors:
            if tensor in smaller:
                setattr(module, name, smaller[tensor])
                layers.update_sizes_(module)
    for name in emptied:
        layer = net.get_submodule(name)
        net.set_submodule(name, Constant(layer.fold() if isinstance(layer, FactorizedLinear) else layer))


def _emptied(net: nn.Module, width: Width) -> list[str]:
    """List the consumers that read nothing else; a convolution among them is refused."""
    names = []
    for cut in width.consumers:
        weight = layers.slots(net, width, cut)[0]
        n_entries = cut.repeat * width.size * cut.block
        if n_entries and weight.tensor.shape[weight.axis] == n_entries:
            is_linear = isinstance(weight.owner, nn.Linear | Conv1D | FactorizedLinear)
            if not is_linear or isinstance(weight.owner, FactorizedConv1x1):
                raise ValueError(f"{width.name}: {cut.module!r} would have no inputs left; keep a unit")
            names.append(cut.module)
    return names


def _smaller(net: nn.Module, cuts: Sequence[tuple[Width, Tensor]]) -> dict[Tensor, Tensor]:
    """Map each tensor of the widths to its entries after the cut; one that layers share is cut once."""
    kept: dict[tuple[Tensor, int], Tensor] = {}
    for width, mask in cuts:
        for cut in width.everywhere:
            for slot in layers.slots(net, width, cut):
                everything = torch.ones(slot.tensor.shape[slot.axis], dtype=torch.bool, device="cpu")
                layers.by_unit(kept.setdefault((slot.tensor, slot.axis), everything), width, cut)[~mask] = False

    smaller: dict[Tensor, Tensor] = {}
    for (tensor, axis), entries in kept.items():
        index = entries.nonzero().squeeze(1).to(tensor.device)
        values = smaller.get(tensor, tensor).detach().index_select(axis, index)
        is_trained = isinstance(tensor, nn.Parameter)
        smaller[tensor] = nn.Parameter(values, requires_grad=tensor.requires_grad) if is_trained else values
    return smaller
