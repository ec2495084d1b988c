"""The l1,inf,inf ball of a tensor of nested groups: the bi-level l1,inf ball of its outer slices."""

from torch import Tensor

from compressor.numerics import arguments, maps, simplex
from compressor.numerics.groups import split
from compressor.numerics.reductions import l1, largest

EXACT = False
ZEROES = "entries"  # whole outer slices of a tensor, but no columns of a matrix

Dims = tuple[int, int]


def norm(tensor: Tensor, *, dim: Dims = (-3, -2), weights: Tensor | None = None) -> Tensor:
    """Sum over outer slices of the largest magnitude in each."""
    slices = split(tensor, dim).outer
    return simplex.total(largest(slices), weights).to(slices.dtype)


def dual_norm(tensor: Tensor, *, dim: Dims = (-3, -2), weights: Tensor | None = None) -> Tensor:
    """Largest l1 norm of an outer slice."""
    slices = split(tensor, dim).outer
    return simplex.peak(l1(slices), weights).to(slices.dtype)


def radius_for(
    tensor: Tensor, column_sparsity: float, *, dim: Dims = (-3, -2), weights: Tensor | None = None
) -> float | Tensor:
    """Radius at which ``project`` zeroes the fraction ``column_sparsity`` of the outer slices."""
    return simplex.radius_for(largest(split(tensor, dim).outer), weights, column_sparsity)


def project(
    tensor: Tensor,
    radius: float | Tensor,
    *,
    dim: Dims = (-3, -2),
    weights: Tensor | None = None,
    out: Tensor | None = None,
    check_finite: bool = True,
) -> Tensor:
    """Map a tensor into the l1,inf,inf ball by the tri-level rule.

    Maxima of outer slices are projected onto the simplex, maxima of inner
    slices clipped at them, and entries at those: in all, each outer slice is
    clipped at its new maximum, as in the bi-level l1,inf ball.

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
    >>> project(torch.tensor([[[3.0, 1.0], [-4.0, 2.0]], [[0.5, 1.0], [1.0, 0.0]]]), radius=2.0)
    tensor([[[ 2.,  1.],
             [-2.,  2.]],
    <BLANKLINE>
            [[ 0.,  0.],
             [ 0.,  0.]]])
    """
    maxima = largest(split(tensor, dim).outer)
    if check_finite:
        arguments.require_finite(maxima)
    caps = simplex.shrink(maxima, radius, weights)
    return maps.apply(maps.clip, tensor, caps, dim=dim, out=out)
