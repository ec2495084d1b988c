"""The l1,2 ball of the group lasso, whose two-level projection is the nearest point."""

from torch import Tensor

from compressor.numerics import arguments, maps, simplex
from compressor.numerics.groups import Coupled, Grouped, split
from compressor.numerics.reductions import l2

EXACT = True
ZEROES = "columns"


def norm(matrix: Tensor | Coupled, *, dim: int = -1, weights: Tensor | None = None) -> Tensor:
    """Sum over columns of their l2 norms."""
    columns = split(matrix, dim)
    return simplex.total(l2(columns), weights).to(columns.dtype)


def dual_norm(matrix: Tensor | Coupled, *, dim: int = -1, weights: Tensor | None = None) -> Tensor:
    """Largest l2 norm of a column."""
    columns = split(matrix, dim)
    return simplex.peak(l2(columns), weights).to(columns.dtype)


def radius_for(
    matrix: Tensor | Coupled, column_sparsity: float, *, dim: int = -1, weights: Tensor | None = None
) -> float | Tensor:
    """Radius at which ``project`` zeroes the fraction ``column_sparsity`` of the columns."""
    return simplex.radius_for(l2(split(matrix, dim)), weights, column_sparsity)


def project(
    matrix: Grouped,
    radius: float | Tensor,
    *,
    dim: int = -1,
    weights: Tensor | None = None,
    out: Grouped | None = None,
    check_finite: bool = True,
) -> Grouped:
    """Project a matrix onto the l1,2 ball: every column is shortened by the same length.

    The vector of column lengths is projected onto the simplex, then each
    column is scaled to its new length, which may be zero.

    Parameters, result and errors: `compressor.balls.ColumnBall.project`.

    Examples
    --------
    >>> import torch
    >>> project(torch.tensor([[3.0, 0.5], [4.0, 0.0]]), radius=2.5)
    tensor([[1.5000, 0.0000],
            [2.0000, 0.0000]])
    """
    lengths = l2(split(matrix, dim))
    if check_finite:
        arguments.require_finite(lengths)
    factors = simplex.ratio(simplex.shrink(lengths, radius, weights), lengths)
    return maps.apply(maps.scale, matrix, factors, dim=dim, out=out)
