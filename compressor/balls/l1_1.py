"""The l1,1 ball, reached in two levels: column l1 norms first, then each column."""

from torch import Tensor

from compressor.numerics import arguments, caps, maps, simplex
from compressor.numerics.groups import Coupled, Grouped, split
from compressor.numerics.reductions import l1, largest

EXACT = False  # the nearest point of this ball zeroes entries, hardly ever columns: that is ``l1``
ZEROES = "columns"


def norm(matrix: Tensor | Coupled, *, dim: int = -1, weights: Tensor | None = None) -> Tensor:
    """Sum over columns of their l1 norms."""
    columns = split(matrix, dim)
    return simplex.total(l1(columns), weights).to(columns.dtype)


def dual_norm(matrix: Tensor | Coupled, *, dim: int = -1, weights: Tensor | None = None) -> Tensor:
    """Largest magnitude in any column."""
    columns = split(matrix, dim)
    return simplex.peak(largest(columns), weights).to(columns.dtype)


def radius_for(
    matrix: Tensor | Coupled, column_sparsity: float, *, dim: int = -1, weights: Tensor | None = None
) -> float | Tensor:
    """Radius at which ``project`` zeroes the fraction ``column_sparsity`` of the columns."""
    return simplex.radius_for(l1(split(matrix, dim)), weights, column_sparsity)


def project(
    matrix: Grouped,
    radius: float | Tensor,
    *,
    dim: int = -1,
    weights: Tensor | None = None,
    out: Grouped | None = None,
    check_finite: bool = True,
) -> Grouped:
    """Map a matrix into the l1,1 ball by the bi-level rule.

    The vector of column l1 norms is projected onto the simplex, then each
    column onto the l1 ball of its new norm. Columns vanish whole, and the
    smallest entries of the others.

    Parameters, result and errors: `compressor.balls.ColumnBall.project`.

    References
    ----------
    .. [1] M. Barlaud, G. Perez, J.-P. Marmorat, "Linear time bi-level l1,inf
       projection", 2024, arXiv:2407.16293.

    Examples
    --------
    >>> import torch
    >>> project(torch.tensor([[3.0, 0.5], [-1.0, 1.0]]), radius=2.0)
    tensor([[2., 0.],
            [0., 0.]])
    """
    columns = split(matrix, dim)
    sums = l1(columns)
    if check_finite:
        arguments.require_finite(sums)
    shortened = caps.thresholds(columns, simplex.shrink(sums, radius, weights))
    return maps.apply(maps.soften, matrix, shortened, dim=dim, out=out)
