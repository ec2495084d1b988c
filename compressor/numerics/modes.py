"""Modes of tensors: unfoldings, products, the higher-order SVD with its refinement for batches, and its ranks."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from compressor.numerics import rank_tuples

ENOUGH = 1e-12  # iterations stop when one adds no more than this share to the squared norm of the core


def unfold(tensor: Tensor, mode: int, order: int) -> Tensor:
    """Make mode ``mode`` of the last ``order`` axes the rows of a matrix and join the others to columns."""
    n_batch = tensor.ndim - order
    return tensor.movedim(n_batch + mode, n_batch).flatten(n_batch + 1)


def times(tensor: Tensor, matrix: Tensor, mode: int, order: int) -> Tensor:
    """Multiply a mode by a matrix of shape (*batch, new size, size): the mode-n product."""
    n_batch = tensor.ndim - order
    moved = tensor.movedim(n_batch + mode, n_batch)
    product: Tensor = (matrix @ moved.flatten(n_batch + 1)).unflatten(-1, moved.shape[n_batch + 1 :])
    return product.movedim(n_batch, n_batch + mode)


def bases(tensor: Tensor, ranks: Sequence[int]) -> list[Tensor]:
    """First left singular vectors of each unfolding, shapes (*batch, size, rank)."""
    return [_leading(unfold(tensor, mode, len(ranks)), rank) for mode, rank in enumerate(ranks)]


def core(tensor: Tensor, factors: Sequence[Tensor]) -> Tensor:
    """Multiply each mode by the transpose of its factor."""
    for mode, factor in enumerate(factors):
        tensor = times(tensor, factor.mT, mode, len(factors))
    return tensor


def expand(tensor: Tensor, factors: Sequence[Tensor]) -> Tensor:
    """Multiply each mode of a core by its factor."""
    for mode, factor in enumerate(factors):
        tensor = times(tensor, factor, mode, len(factors))
    return tensor


def refine(tensor: Tensor, factors: Sequence[Tensor], n_iterations: int) -> list[Tensor]:
    """Improve orthonormal factors by higher-order orthogonal iteration; the norm of the core never falls.

    References
    ----------
    .. [1] L. De Lathauwer, B. De Moor, J. Vandewalle, "On the best rank-1 and rank-(R1, R2, ..., RN) approximation of
       higher-order tensors", 2000, DOI 10.1137/S0895479898346995.
    """
    factors, order = list(factors), len(factors)
    before = _energies(core(tensor, factors), order)
    for _ in range(n_iterations):
        for mode in range(order):
            rest = tensor
            for other in sorted(set(range(order)) - {mode}, key=lambda i: factors[i].shape[-1] / factors[i].shape[-2]):
                rest = times(rest, factors[other].mT, other, order)
            factors[mode] = _leading(unfold(rest, mode, order), factors[mode].shape[-1])
        reached = _energies(core(tensor, factors), order)
        if bool((reached <= before * (1 + ENOUGH)).all()):
            break
        before = reached
    return factors


def _energies(tensor: Tensor, order: int) -> Tensor:
    """Squared norm of each tensor of a batch."""
    return tensor.square().flatten(tensor.ndim - order).sum(dim=-1)


def _leading(matrix: Tensor, rank: int) -> Tensor:
    """First left singular vectors; of a wide matrix by its triangular factor, whose rows are few."""
    triangle: Tensor = torch.linalg.qr(matrix.mT, mode="r").R.mT
    left: Tensor = torch.linalg.svd(triangle, full_matrices=False).U
    return left[..., :rank]


def fits(shape: Sequence[int], rank: Sequence[int]) -> bool:
    """Whether there is a rank for each mode, none above its size or the product of the other ranks."""
    if len(rank) != len(shape) or min(rank, default=0) < 1:
        return False
    return all(each <= size and each * each <= math.prod(rank) for size, each in zip(shape, rank, strict=True))


def check(shape: Sequence[int], rank: Sequence[int]) -> None:
    """Refuse ranks that the core of a tensor of this shape cannot have."""
    if not fits(shape, rank):
        raise ValueError(
            f"rank: must be {len(shape)} ranks up to the sizes {tuple(shape)}, none above the product of the others; "
            f"got {tuple(rank)}"
        )


def capped(shape: Sequence[int], size: int) -> tuple[int, ...]:
    """Equal ranks, none above its mode's size or the product of the others."""
    rank = [min(size, each) for each in shape]
    widest = rank.index(max(rank))
    rank[widest] = min(rank[widest], math.prod(rank[:widest] + rank[widest + 1 :]))
    return tuple(rank)


def equal_ranks(shape: Sequence[int], n_params: Callable[[tuple[int, ...]], int], most: int) -> tuple[int, ...]:
    """Ranks of at most so many numbers that are equal but for smaller modes and for what fills the budget."""
    equal = rank_tuples.largest(max(shape), lambda size: n_params(capped(shape, size)) <= most)

    def allowed(rank: tuple[int, ...]) -> bool:
        return fits(shape, rank) and n_params(rank) <= most

    return rank_tuples.filled(capped(shape, equal), allowed, n_params, full=shape)
