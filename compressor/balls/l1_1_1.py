"""The l1,1,1 ball of a tensor of nested groups, reached in three levels."""

import math

import torch
from torch import Tensor

from compressor.numerics import arguments, caps, maps, simplex
from compressor.numerics.groups import split
from compressor.numerics.reductions import l1, largest

EXACT = False
ZEROES = "entries"  # whole outer and inner slices of a tensor too, but no columns of a matrix

Dims = tuple[int, int]


def norm(tensor: Tensor, *, dim: Dims = (-3, -2), weights: Tensor | None = None) -> Tensor:
    """Sum over outer slices of their l1 norms."""
    inner = split(tensor, dim)
    return simplex.total(l1(inner).sum(-1), weights).to(inner.dtype)


def dual_norm(tensor: Tensor, *, dim: Dims = (-3, -2), weights: Tensor | None = None) -> Tensor:
    """Largest magnitude in any outer slice."""
    slices = split(tensor, dim).outer
    return simplex.peak(largest(slices), weights).to(slices.dtype)


def radius_for(
    tensor: Tensor, column_sparsity: float, *, dim: Dims = (-3, -2), weights: Tensor | None = None
) -> float | Tensor:
    """Radius at which ``project`` zeroes the fraction ``column_sparsity`` of the outer slices."""
    return simplex.radius_for(l1(split(tensor, dim)).sum(-1), weights, column_sparsity)


def project(
    tensor: Tensor,
    radius: float | Tensor,
    *,
    dim: Dims = (-3, -2),
    weights: Tensor | None = None,
    out: Tensor | None = None,
    check_finite: bool = True,
) -> Tensor:
    """Map a tensor into the l1,1,1 ball by the tri-level rule.

    The l1 norms of outer slices are projected onto the simplex, those of the
    inner slices of each onto the l1 ball of its new norm, and entries onto
    the l1 balls of those.

    Other parameters, result and errors: `compressor.balls.ColumnBall.project`.

    Parameters
    ----------
    tensor : Tensor, shape (*batch, n_outer, n_inner, n_members)
        For example the weights of all heads, (n_heads, head_dim, n_columns). A matrix counts as a tensor with one
        member in each inner slice.
    dim : two ints
        Axes that index the outer and the inner slices. The other axes, from the first of these on, or from the third
        last on, index the members.
    weights : Tensor, shape (n_outer,) or (*batch, n_outer), > 0, optional
        Factor of each outer slice in the norm.

    References
    ----------
    .. [1] G. Perez, M. Barlaud, "Multi-level projection with exponential
       parallel speedup", 2024, arXiv:2405.02086.

    Examples
    --------
    >>> import torch
    >>> project(torch.tensor([[[3.0, 1.0], [-4.0, 2.0]], [[0.5, 1.0], [1.0, 0.0]]]), radius=6.0)
    tensor([[[ 2.,  0.],
             [-3.,  1.]],
    <BLANKLINE>
            [[ 0.,  0.],
             [ 0.,  0.]]])
    """
    inner = split(tensor, dim)
    sums = l1(inner)
    if check_finite:
        arguments.require_finite(sums)
    outer = simplex.shrink(sums.sum(-1), radius, weights)
    lowered, was_more = simplex.lower(sums, None, outer.unsqueeze(-1))
    shortened = caps.thresholds(inner, torch.where(was_more, lowered, math.inf))
    return maps.apply(maps.soften, tensor, shortened, dim=dim, out=out)
