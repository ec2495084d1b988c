"""Reduce the members of each group to one number, in float64 and in one blocked pass."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from compressor.numerics.blocks import READ, SCRATCH, blocks
from compressor.numerics.groups import Groups, spread

_SAFE_LENGTHS = (1e-10, 1e15)  # squares of larger entries overflow float32, those of smaller ones vanish
_RUN = 256  # `vector_norm` adds in sequence: longer runs lose digits


def largest(groups: Groups) -> Tensor:
    """Largest magnitude in each group; 0 where it is empty."""
    result = groups.zeros()
    for part in groups.parts:
        members = groups.members(part)
        if groups.wants_gradient:
            result = result.maximum(part.abs().amax(members)) if part.numel() else result
        elif part.stride(-1) == 1:  # reading contiguous members twice is cheaper than writing their magnitudes
            for block, maxima in blocks(part, spread(result, part), n_bytes=READ):
                bottom, top = block.amin(members, keepdim=True), block.amax(members, keepdim=True)
                torch.maximum(maxima, torch.maximum(top, bottom.neg_()), out=maxima)
        else:
            for block, maxima in _copies(groups, part, torch.abs, result):
                torch.maximum(maxima, block.amax(members, keepdim=True), out=maxima)
    return result


def l1(groups: Groups) -> Tensor:
    """l1 norm of each group."""
    result = groups.zeros()
    for part in groups.parts:
        for block, total in _copies(groups, part, torch.abs, result):
            total.add_(block.sum(groups.members(part), keepdim=True, dtype=torch.float64))  # may dwarf the entries
    return result


def l2(groups: Groups) -> Tensor:
    """l2 norm of each group."""
    lengths = _l2(groups)
    if _SAFE_LENGTHS[0] < _top(lengths) < _SAFE_LENGTHS[1]:
        return lengths
    scale = _top(largest(groups)) or 1.0
    return _l2(groups.map(lambda part: part / scale)) * scale


def excess(groups: Groups, caps: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of the excess over each group's cap, and number of the members above it."""
    limits, sums, counts = caps.to(groups.dtype), groups.zeros(), groups.zeros()
    for part in groups.parts:
        members = groups.members(part)
        for block, limit, total, number in _copies(groups, part, torch.abs, limits, sums, counts):
            above = block.sub_(limit).relu_()
            total.add_(above.sum(members, keepdim=True))
            number.add_((above.detach().sign() if groups.wants_gradient else above.sign_()).sum(members, keepdim=True))
    return sums, counts


def _l2(groups: Groups) -> Tensor:
    squares = groups.zeros()
    for part in groups.parts:
        if part.stride(-1) == 1 and not groups.wants_gradient:
            for block, total in blocks(part, spread(squares, part), n_bytes=READ):
                total.add_(_squares(block, groups.dtype).sum(groups.members(part), keepdim=True))
        else:
            for block, total in _copies(groups, part, torch.square, squares):
                total.add_(block.sum(groups.members(part), keepdim=True))
    return torch.where(squares == 0, 1.0, squares).sqrt() * (squares != 0)  # the root has no finite slope at 0


def _squares(block: Tensor, dtype: torch.dtype) -> Tensor:
    """Sum squares over runs of the last axis, which is contiguous."""
    n_runs = block.shape[-1] // _RUN
    runs = block[..., : n_runs * _RUN].reshape(*block.shape[:-1], n_runs, _RUN)
    rest = block[..., n_runs * _RUN :].unsqueeze(-2)
    lengths = [torch.linalg.vector_norm(each, dim=-1, dtype=dtype) for each in (runs, rest)]
    return torch.cat(lengths, dim=-1).square_()


def _copies(
    groups: Groups, part: Tensor, function: Callable[..., Tensor], *vectors: Tensor
) -> Iterator[tuple[Tensor, ...]]:
    """Yield a function of the entries by block, in scratch that may be overwritten, with its part of the vectors.

    If a gradient is wanted there is only one block, so that autograd can follow.
    """
    spreads = [spread(vector, part) for vector in vectors]
    if groups.wants_gradient:
        yield (function(part.to(groups.dtype)), *spreads)
        return
    scratch = part.new_empty(0)
    for block, *others in blocks(part, *spreads, n_bytes=SCRATCH):
        if scratch.shape != block.shape:
            scratch = torch.empty_like(block, dtype=groups.dtype)
        yield (function(block.to(groups.dtype), out=scratch), *others)


def _top(values: Tensor) -> float:
    return float(values.detach().amax()) if values.numel() else 1.0
