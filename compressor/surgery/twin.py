"""A copy of a network that shares its tensors, for what would leave traces in it."""

from copy import deepcopy
from itertools import chain
from typing import TypeVar

import torch
from torch import Tensor, nn

Net = TypeVar("Net", bound=nn.Module)


def twin(net: Net, empty_on: str | None = None) -> Net:
    """Copy the modules of a network but not its tensors; gradients, settings and caches of the copy are its own.

    Some networks keep tensors of a forward pass: LeViT keeps its attention biases, with their gradient or from a trace,
    and cannot be copied or run any more. With ``empty_on`` the tensors are new ones without values on that device.
    """
    tensors = chain(net.parameters(), net.buffers())
    shared = {id(tensor): tensor if empty_on is None else _empty(tensor, empty_on) for tensor in tensors}
    return deepcopy(net, shared)


def _empty(tensor: Tensor, device: str) -> Tensor:
    empty = torch.empty_like(tensor, device=device)
    return nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty
