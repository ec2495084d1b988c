"""The l1,2 ball: the group lasso's norm, for which the two-level projection is the nearest point."""

from torch import Tensor

from compressor.numerics import groups, simplex
from compressor.numerics.groups import Coupled, Grouped

EXACT = True
ZEROES = "columns"


def norm(matrix: Tensor | Coupled, *, dim: int = -1, weights: Tensor | None = None) -> Tensor:
    """Sum over columns of their l2 norms."""
    columns = groups.split(matrix, dim)
    lengths = groups.l2(columns)
    return (simplex.as_weights(weights, lengths) * lengths).sum(-1).to(columns.dtype)


def dual_norm(matrix: Tensor | Coupled, *, dim: int = -1, weights: Tensor | None = None) -> Tensor:
    """Largest l2 norm of a column."""
    columns = groups.split(matrix, dim)
    lengths = groups.l2(columns)
    return groups.peak(lengths / simplex.as_weights(weights, lengths)).to(columns.dtype)


def radius_for(
    matrix: Tensor | Coupled, column_sparsity: float, *, dim: int = -1, weights: Tensor | None = None
) -> float | Tensor:
    """Radius at which ``project`` zeroes the fraction ``column_sparsity`` of the columns."""
    lengths = groups.l2(groups.split(matrix, dim))
    return simplex.radius_for(lengths, simplex.as_weights(weights, lengths), column_sparsity)


def project(
    matrix: Grouped,
    radius: float | Tensor,
    *,
    dim: int = -1,
    weights: Tensor | None = None,
    out: Grouped | None = None,
    check_finite: bool = True,
) -> Grouped:
    """Project a matrix onto the l1,2 ball: shorten every column by the same length.

    The vector of column norms is projected onto the simplex, then each column
    is scaled to its new norm.

    Examples
    --------
    >>> import torch
    >>> project(torch.tensor([[3.0, 0.5], [4.0, 0.0]]), radius=2.5)
    tensor([[1.5000, 0.0000],
            [2.0000, 0.0000]])
    """
    columns = groups.split(matrix, dim)
    lengths = groups.l2(columns)
    if check_finite:
        groups.require_finite(lengths)
    shrunk = simplex.shrink(lengths, simplex.as_radius(radius, lengths), simplex.as_weights(weights, lengths))
    factors = (shrunk / lengths).nan_to_num(0.0)
    return groups.deliver(matrix, dim, groups.scale(columns, factors), out)
