"""Change every entry by its group's number: the last pass of a projection, blocked, and in place if asked."""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from compressor.numerics.blocks import blocks
from compressor.numerics.groups import Coupled, Dim, Grouped, split, spread

Kernel = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def clip(entries: Tensor, caps: Tensor, out: Tensor | None) -> Tensor:
    """Limit magnitudes to the caps."""
    if out is None:  # for autograd: an entry at its cap moves with the cap, and at cap 0 not at all
        return torch.where(entries.abs() < caps, entries, entries.sign() * caps)
    return torch.maximum(torch.minimum(entries, caps, out=out), -caps, out=out)


def soften(entries: Tensor, thresholds: Tensor, out: Tensor | None) -> Tensor:
    """Reduce magnitudes by the thresholds, but not below 0."""
    if out is None:
        return torch.where(entries.abs() < thresholds, 0.0, entries - entries.sign() * thresholds)
    return torch.sub(entries, entries.minimum(thresholds).maximum(-thresholds), out=out)


def scale(entries: Tensor, factors: Tensor, out: Tensor | None) -> Tensor:
    """Multiply by the factors."""
    return torch.mul(entries, factors, out=out)


def apply(kernel: Kernel, matrix: Grouped, numbers: Tensor, *, dim: Dim, out: Grouped | None = None) -> Grouped:
    """Change the entries of each group by the group's number, into `out` or a new tensor."""
    sources = split(matrix, dim)
    follow = sources.wants_gradient or (torch.is_grad_enabled() and numbers.requires_grad)
    if follow and out is not None:
        raise ValueError("out: cannot carry a gradient; leave it out, or project under torch.no_grad()")
    result = cast(Grouped, _like(matrix)) if out is None else out
    for source, target in zip(sources.parts, split(result, dim).parts, strict=True):
        if (source.shape, source.dtype) != (target.shape, target.dtype):
            raise ValueError(f"out: must have the matrix's shape and type, {source.dtype}, got {target.dtype}")
        spreads = spread(numbers.to(sources.dtype), source)
        if follow:
            target.copy_(kernel(source, spreads, None))
            continue
        for block, number, place in blocks(source, spreads, target):
            kernel(block, number, place)
    return result


def _like(matrix: Tensor | Coupled) -> Tensor | Coupled:
    if isinstance(matrix, Coupled):
        return Coupled(tuple(torch.empty_like(tensor) for tensor in matrix.tensors), matrix.dims)
    return torch.empty_like(matrix)
