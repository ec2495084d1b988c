"""The l1,inf ball by Euclidean projection: every live column gives up the same l1 length."""

from collections.abc import Callable

import torch
from torch import Tensor

from compressor.numerics import groups, simplex
from compressor.numerics.groups import Coupled, Grouped, Groups

EXACT = True
ZEROES = "columns"


def norm(matrix: Tensor | Coupled, *, dim: int = -1, weights: Tensor | None = None) -> Tensor:
    """Sum over columns of the largest magnitude in each column."""
    columns = groups.split(matrix, dim)
    maxima = groups.largest(columns)
    return (simplex.as_weights(weights, maxima) * maxima).sum(-1).to(columns.dtype)


def dual_norm(matrix: Tensor | Coupled, *, dim: int = -1, weights: Tensor | None = None) -> Tensor:
    """Largest l1 norm of a column."""
    columns = groups.split(matrix, dim)
    sums = groups.l1(columns)
    return groups.peak(sums / simplex.as_weights(weights, sums)).to(columns.dtype)


def radius_for(
    matrix: Tensor | Coupled, column_sparsity: float, *, dim: int = -1, weights: Tensor | None = None
) -> float | Tensor:
    """Radius at which ``project`` zeroes the fraction ``column_sparsity`` of the columns."""
    columns = groups.split(matrix, dim)
    sums = groups.l1(columns)
    weight = simplex.as_weights(weights, sums)
    theta = simplex.quantile((sums / weight).sort(dim=-1, descending=True).values, column_sparsity)
    radius = (weight * _solve(columns, weight, lambda sums, counts: theta)).sum(-1)
    return radius if radius.ndim else float(radius)


def project(
    matrix: Grouped,
    radius: float | Tensor,
    *,
    dim: int = -1,
    weights: Tensor | None = None,
    out: Grouped | None = None,
    check_finite: bool = True,
) -> Grouped:
    """Project a matrix onto the l1,inf ball.

    Examples
    --------
    >>> import torch
    >>> project(torch.tensor([[3.0, 0.5], [4.0, 0.0]]), radius=2.5)
    tensor([[2.5000, 0.0000],
            [2.5000, 0.0000]])
    """
    columns = groups.split(matrix, dim)
    maxima = groups.largest(columns)
    if check_finite:
        groups.require_finite(maxima)
    weight, limit = simplex.as_weights(weights, maxima), simplex.as_radius(radius, maxima)

    def theta(sums: Tensor, counts: Tensor) -> Tensor:
        return simplex.level(sums / weight, weight.square() / counts, limit)

    inside = (weight * maxima).sum(-1, keepdim=True) <= limit
    caps = torch.where(inside, maxima, _solve(columns, weight, theta))
    return groups.deliver(matrix, dim, groups.clip(columns, caps), out)


def _solve(columns: Groups, weights: Tensor, theta: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Caps above which each column holds the l1 length theta x its weight, by Newton steps from the left."""
    maxima, lengths = groups.largest(columns), groups.l1(columns)
    precision = 8 * torch.finfo(columns.dtype).eps
    tolerance = precision * groups.peak(maxima).unsqueeze(-1)
    caps = torch.zeros_like(maxima)
    for _ in range(200):
        sums, counts = groups.excess(columns, caps)
        beyond = counts == 0
        sums, counts = torch.where(beyond, maxima, sums), torch.where(beyond, 1.0, counts)
        length = theta(sums, counts) * weights
        previous, caps = caps, ((sums - length) / counts).clamp(min=0).to(columns.dtype).double()
        if bool(((caps - previous).abs() <= tolerance).all()):
            break
    return torch.where(lengths <= length * (1 + precision), 0.0, caps)
