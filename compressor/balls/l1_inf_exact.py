"""The l1,inf ball by Euclidean projection: every live column gives up the same l1 length."""

import math

import torch
from torch import Tensor

from compressor.numerics import arguments, caps, maps, simplex
from compressor.numerics.groups import Coupled, Grouped, Groups, split
from compressor.numerics.reductions import l1, largest

EXACT = True
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
    columns = split(matrix, dim)
    sums = l1(columns)
    arguments.require_finite(sums)
    factors = arguments.as_weights(weights, sums)
    threshold = simplex.quantile(sums / factors, column_sparsity)
    given_up = torch.where(threshold > 0, threshold * factors, math.inf)
    heights = caps.find_caps(columns, lambda sums, counts, held: sums - given_up)
    return arguments.as_number((factors * torch.where(threshold > 0, heights, largest(columns))).sum(-1))


def project(
    matrix: Grouped,
    radius: float | Tensor,
    *,
    dim: int = -1,
    weights: Tensor | None = None,
    start: float | Tensor | None = None,
    out: Grouped | None = None,
    check_finite: bool = True,
) -> Grouped:
    """Project a matrix onto the l1,inf ball.

    Every column is clipped at a cap of its own, such that the l1 length cut
    off is the same threshold for all of them. A column that has no more than
    that vanishes whole.

    Other parameters, result and errors: `compressor.balls.ColumnBall.project`.

    Parameters
    ----------
    start : float or Tensor, shape batch, >= 0, optional
        Guess of the threshold, ``dual_norm(matrix - projected)``, for example of the previous training step.

    Notes
    -----
    Newton steps on the threshold and the caps together, without sorting: each
    is one pass over the columns whose cap still moves. Memory is an eighth of
    the matrix for the start, and up to 32 MiB for copies of moving columns.

    References
    ----------
    .. [1] D. Chu, C. Zhang, S. Sun, Q. Tao, "Semismooth Newton algorithm for
       efficient projections onto l1,inf-norm ball", ICML 2020.

    Examples
    --------
    >>> import torch
    >>> project(torch.tensor([[3.0, 0.5], [4.0, 0.0]]), radius=2.5)
    tensor([[2.5000, 0.0000],
            [2.5000, 0.0000]])
    """
    columns = split(matrix, dim)
    factors = arguments.as_weights(weights, columns.zeros())
    limit = arguments.as_radius(radius, columns.zeros())
    is_inside = _is_inside(columns, limit, factors)

    def kept(sums: Tensor, counts: Tensor, held: Tensor | None) -> Tensor:
        heights, masses = sums / factors, factors.square() / counts
        if held is None:
            lowered, _ = simplex.lower(heights, masses, limit)
        else:
            lowered = heights - simplex.propose(heights, masses, limit, held)
        return torch.where(is_inside, 0.0, lowered * factors)

    heights = caps.find_caps(columns, kept, _near(start, factors, columns))
    if check_finite:
        arguments.require_finite(heights)
    return maps.apply(maps.clip, matrix, torch.where(is_inside, math.inf, heights), dim=dim, out=out)


def _is_inside(columns: Groups, limit: float | Tensor, factors: Tensor) -> Tensor:
    """Mask of the batch items that need no projection; a sample of their members often shows that they do."""
    with torch.no_grad():
        for seen in (columns.sample(), columns):
            total = (factors * largest(seen)).sum(-1, keepdim=True)
            is_inside = total.isfinite() & (total <= limit)
            if not bool(is_inside.any()):
                break
    return is_inside


def _near(start: float | Tensor | None, factors: Tensor, columns: Groups) -> caps.Rule | None:
    """Hold each column to a guessed threshold."""
    if start is None:
        return None
    given_up = factors * arguments.as_radius(start, columns.zeros())
    return lambda sums, counts, held: sums - given_up
