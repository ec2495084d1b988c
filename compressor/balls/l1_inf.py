"""The l1,inf ball, reached in two levels: column maxima first, then each column."""

from torch import Tensor

from compressor.numerics import arguments, maps, simplex
from compressor.numerics.groups import Coupled, Grouped, split
from compressor.numerics.reductions import l1, largest

EXACT = False  # ``project`` lands in the ball, but not always on its nearest point
ZEROES = "columns"


def norm(matrix: Tensor | Coupled, *, dim: int = -1, weights: Tensor | None = None) -> Tensor:
    """Sum over columns of the largest magnitude in each column."""
    columns = split(matrix, dim)
    return simplex.total(largest(columns), weights).to(columns.dtype)


def dual_norm(matrix: Tensor | Coupled, *, dim: int = -1, weights: Tensor | None = None) -> Tensor:
    """Largest l1 norm of a column."""
    columns = split(matrix, dim)
    return simplex.peak(l1(columns), weights).to(columns.dtype)


def radius_for(
    matrix: Tensor | Coupled, column_sparsity: float, *, dim: int = -1, weights: Tensor | None = None
) -> float | Tensor:
    """Radius at which ``project`` zeroes the fraction ``column_sparsity`` of the columns."""
    return simplex.radius_for(largest(split(matrix, dim)), weights, column_sparsity)


def project(
    matrix: Grouped,
    radius: float | Tensor,
    *,
    dim: int = -1,
    weights: Tensor | None = None,
    out: Grouped | None = None,
    check_finite: bool = True,
) -> Grouped:
    """Map a matrix into the l1,inf ball by the bi-level rule.

    The vector of column maxima is projected onto the simplex, then each
    column is clipped at its new maximum. A column whose maximum reaches zero
    vanishes whole, which is what `surgery` can remove from the network.

    Parameters, result and errors: `compressor.balls.ColumnBall.project`.

    Notes
    -----
    Time O(n_rows n_columns + n_columns log n_columns). The threshold is found
    in float64: in float32 a small radius against a large norm loses it.

    References
    ----------
    .. [1] M. Barlaud, G. Perez, J.-P. Marmorat, "Linear time bi-level l1,inf
       projection", 2024, arXiv:2407.16293.

    Examples
    --------
    >>> import torch
    >>> weights = torch.tensor([[3.0, -1.0, 0.5], [-4.0, 2.0, 0.0]])
    >>> norm(weights)
    tensor(6.5000)
    >>> project(weights, radius=4.0)
    tensor([[ 3., -1.,  0.],
            [-3.,  1.,  0.]])
    """
    maxima = largest(split(matrix, dim))
    if check_finite:
        arguments.require_finite(maxima)
    caps = simplex.shrink(maxima, radius, weights)
    return maps.apply(maps.clip, matrix, caps, dim=dim, out=out)
