"""Cut tensors into pieces that stay in the processor's cache while several kernels pass over them."""

import math
from collections.abc import Iterator
from itertools import repeat

import torch
from torch import Tensor

# Approximate bytes of a piece. Smaller ones cost more calls, larger ones leave the cache between kernels.
SCRATCH = 1 << 20  # copied to scratch
STREAM = 2 << 20  # read, and written elsewhere
READ = 8 << 20  # read only


def blocks(tensor: Tensor, *others: Tensor, n_bytes: int = STREAM) -> Iterator[tuple[Tensor, ...]]:
    """Yield views of a tensor, cut along its outermost axes in memory, each with its part of the others.

    The others have the tensor's shape, or 1 along axes to be broadcast. An empty tensor has no pieces.
    """
    limit = n_bytes / tensor.element_size() if tensor.device.type == "cpu" else math.inf
    n_pieces = round(tensor.numel() / limit)
    if n_pieces <= 1:
        if tensor.numel():
            yield (tensor, *others)
        return
    axis = max((axis for axis in range(tensor.ndim) if tensor.shape[axis] > 1), key=tensor.stride)
    side = math.ceil(tensor.shape[axis] / n_pieces)
    cuts = (torch.split(each, side, axis) if each.shape[axis] > 1 else repeat(each) for each in (tensor, *others))
    for piece in zip(*cuts, strict=False):
        if side == 1:
            yield from blocks(*piece, n_bytes=n_bytes)
        else:
            yield piece
