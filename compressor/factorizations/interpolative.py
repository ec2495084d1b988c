"""The interpolative form of a low-rank matrix: some of its columns, and how the others follow from them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from compressor.factorizations import Equation, Factors
from compressor.numerics import ranks
from compressor.numerics.low_rank import truncated
from compressor.numerics.metric import PLAIN, Metric

USE = "storage"
TAKES = "matrix"


def factor(weight: Tensor, *, rank: int, metric: Metric | None = None) -> Factors:
    """Approximate a matrix by the nearest of its rank, as that of `svd`, in fewer numbers.

    A matrix of rank r is given by r of its columns and the coefficients of the others in them: r (m + n - r) numbers
    and r indices, where `svd` takes r (m + n). The columns are those that a QR decomposition with pivots takes first.
    They are columns of the approximation, which is nearer to the weight than any matrix made of the weight's own.

    Parameters
    ----------
    weight : Tensor, shape (*batch, n_rows, n_columns)
        The matrix; finite.
    rank : int, 1 to min(n_rows, n_columns)
        Number of columns that are kept.
    metric : Metric, optional
        Norm of the error; Frobenius by default. The result is the nearest in the norm of any metric.

    Returns
    -------
    tuple of Tensor
        Columns, shape (*batch, n_rows, rank); coefficients of the other columns, in their order, shape
        (*batch, rank, n_columns - rank); indices of the kept columns, int64, shape (*batch, rank).

    Raises
    ------
    ValueError
        If the rank does not fit or the weight is not finite.

    Notes
    -----
    Time as `svd`. The coefficients are small numbers, mostly below 1.

    References
    ----------
    .. [1] H. Cheng, Z. Gimbutas, P.-G. Martinsson, V. Rokhlin, "On the compression of low rank matrices", 2005,
       DOI 10.1137/030602678.

    Examples
    --------
    >>> columns, coefficients, kept = factor(torch.tensor([[3.0, 4.0], [6.0, 8.0]]), rank=1)
    >>> kept.tolist(), coefficients.round(decimals=3).tolist()
    ([1], [[0.75]])
    """
    ranks.check_finite(weight)
    ranks.check_rank(rank, min(weight.shape[-2:]), weight.shape)
    left, values, right = truncated(weight, rank, metric or PLAIN)
    kept, others = _pivots(right, rank)
    basis = _columns(right, kept)
    columns = (left * values.unsqueeze(-2)) @ basis
    coefficients = torch.linalg.solve(basis, _columns(right, others))
    return columns.to(weight.dtype), coefficients.to(weight.dtype), kept


def rebuild(factors: Factors) -> Tensor:
    """Compute the other columns from the kept ones."""
    return equation(factors).rebuild(expand(factors))


def expand(factors: Factors) -> Factors:
    """Give the columns, and the coefficients of all columns in them: the factors of a product, as of `svd`.

    Shapes (*batch, n_rows, rank) and (*batch, rank, n_columns); a kept column has the coefficient one in itself.
    """
    columns, coefficients, kept = factors
    rank, n_others = coefficients.shape[-2:]
    order = torch.cat([kept, _others(kept, rank + n_others)], dim=-1)
    ones = torch.eye(rank, dtype=coefficients.dtype, device=coefficients.device).expand(*coefficients.shape[:-1], rank)
    ordered = torch.cat([ones, coefficients], dim=-1)
    return columns, _columns(ordered, order.argsort(dim=-1))


def equation(factors: Factors) -> Equation:
    """Say that the matrix is the product of the two that `expand` gives."""
    return Equation((("ir", "rj"),), ("i", "j"))


def rank_for(shape: Sequence[int], *, budget: float) -> int:
    """Largest rank whose factors have at most ``budget`` times the numbers of the matrix."""
    return ranks.largest(budget, shape, lambda rank: n_params(shape, rank=rank), min(shape[-2:]))


def n_params(shape: Sequence[int], *, rank: int) -> int:
    """Count the numbers in the columns and the coefficients, and the indices."""
    return rank * (sum(shape[-2:]) - rank + 1)


def _pivots(rows: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Find the columns that a QR decomposition with pivots takes first, and of the others, both ascending."""
    rest, pivots = rows, []
    for _ in range(rank):
        pivot = rest.square().sum(dim=-2).argmax(dim=-1, keepdim=True)
        direction = _columns(rest, pivot)
        direction = direction / direction.norm(dim=-2, keepdim=True)
        rest = rest - direction @ (direction.mT @ rest)
        rest = rest.scatter(-1, pivot.unsqueeze(-2).expand(*rest.shape[:-1], 1), 0.0)
        pivots.append(pivot)
    kept = torch.cat(pivots, dim=-1).sort(dim=-1).values
    return kept, _others(kept, rows.shape[-1])


def _others(kept: Tensor, n_columns: int) -> Tensor:
    """List the indices that are not among the given ones, ascending."""
    is_kept = torch.zeros(*kept.shape[:-1], n_columns, dtype=torch.bool, device=kept.device).scatter(
        -1, kept, value=True
    )
    return is_kept.byte().argsort(dim=-1, stable=True)[..., : n_columns - kept.shape[-1]]


def _columns(matrix: Tensor, indices: Tensor) -> Tensor:
    return matrix.gather(-1, indices.unsqueeze(-2).expand(*matrix.shape[:-1], indices.shape[-1]))
