"""A sparse matrix plus one of low rank, by alternating projections."""

from collections.abc import Sequence
from math import floor, prod

import torch
from torch import Tensor

from compressor.factorizations import Equation, Factors
from compressor.numerics import ranks
from compressor.numerics.low_rank import balanced
from compressor.numerics.metric import PLAIN, Metric
from compressor.numerics.refit import refit

USE = "storage"
TAKES = "matrix"
LOW_RANK_SHARE = 0.4  # of a budget: the best of 0.1, 0.2, ... 0.8 on an encoder's FFN at 10, 25 and 50 % of its numbers

Sizes = tuple[int, int]


def factor(weight: Tensor, *, rank: Sizes, metric: Metric | None = None, n_iterations: int = 15) -> Factors:
    """Approximate a matrix by the sum of a sparse one and a product of two.

    In turn, the product is the nearest of its rank to what the sparse matrix leaves, and the sparse matrix has the
    largest entries of what the product leaves. The error never rises from one turn to the next, in the Frobenius norm
    and in that of a metric that scales rows and columns. A second moment only scales the entries before they are
    compared; the best turn is kept, and its factors are refitted by alternating least squares.

    Parameters
    ----------
    weight : Tensor, shape (*batch, n_rows, n_columns)
        The matrix; finite.
    rank : two ints
        Rank of the product, 1 to min(n_rows, n_columns), and number of entries of the sparse matrix that are not zero.
    metric : Metric, optional
        Norm of the error; Frobenius by default.
    n_iterations : int, >= 1
        Number of turns.

    Returns
    -------
    tuple of Tensor, shapes (*batch, n_rows, n_columns), (*batch, n_rows, rank) and (*batch, rank, n_columns)
        The sparse matrix, with its zeros, and the two factors of the product.

    Raises
    ------
    ValueError
        If the rank, the number of entries or of turns does not fit, or the weight is not finite.

    Notes
    -----
    Each turn takes a singular value decomposition and a selection. A local optimum, which depends on the start.

    References
    ----------
    .. [1] T. Zhou, D. Tao, "GoDec: randomized low-rank & sparse matrix decomposition in noisy case", 2011.

    Examples
    --------
    >>> sparse, left, right = factor(torch.ones(4, 4) + 8 * torch.eye(4), rank=(1, 4))
    >>> sparse.round(decimals=2)[0].tolist(), (left @ right).round(decimals=2)[0].tolist()
    ([8.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0])
    """
    ranks.check_finite(weight)
    _check(rank, weight.shape)
    if n_iterations < 1:
        raise ValueError(f"n_iterations: must be >= 1, got {n_iterations}")
    metric = metric or PLAIN
    factors = _alternate(weight.double(), rank, metric, n_iterations)
    if metric.right is not None and metric.right.ndim == 2:
        factors = refit(factors, equation(factors), weight, metric)
    return tuple(each.to(weight.dtype) for each in factors)


def rebuild(factors: Factors) -> Tensor:
    """Add the sparse matrix and the product."""
    return equation(factors).rebuild(factors)


def equation(factors: Factors) -> Equation:
    """Say that the matrix is a sparse one plus the product of two."""
    return Equation((("ij",), ("ir", "rj")), ("i", "j"), sparse=(0,))


def rank_for(shape: Sequence[int], *, budget: float) -> Sizes:
    """Rank and number of entries whose numbers are at most ``budget`` times those of the matrix, and the most of them.

    The product takes two fifths of the budget, rounded down to a rank.
    """
    ranks.check_budget(budget)
    most, smallest = floor(budget * prod(shape)), n_params(shape, rank=(1, 1))
    if most < smallest:
        raise ranks.below(budget, shape, smallest)
    rank = min(max(1, floor(LOW_RANK_SHARE * most / sum(shape))), min(shape))
    return rank, min((most - rank * sum(shape)) // 2, prod(shape))


def n_params(shape: Sequence[int], *, rank: Sizes) -> int:
    """Count the numbers in the product, the entries of the sparse matrix and their indices, one for each."""
    return rank[0] * sum(shape) + 2 * rank[1]


def _check(rank: Sizes, shape: Sequence[int]) -> None:
    if not isinstance(rank, tuple) or len(rank) != 2:
        raise ValueError(f"rank: must be a rank and a number of entries that are not zero, got {rank}")
    ranks.check_rank(rank[0], min(shape[-2:]), shape)
    if not 1 <= rank[1] <= prod(shape[-2:]):
        raise ValueError(f"rank: must have 1 to {prod(shape[-2:])} entries for shape {tuple(shape)}, got {rank[1]}")


def _alternate(weight: Tensor, rank: Sizes, metric: Metric, n_iterations: int) -> Factors:
    """Take turns; return the factors of the best one, for each matrix of a batch."""
    scales = _scales(metric)
    best, sparse = weight.new_full((*weight.shape[:-2], 1, 1), float("inf")), torch.zeros_like(weight)
    kept: Factors = ()
    for _ in range(n_iterations):
        left, right = balanced(weight - sparse, rank[0], metric)
        rest = weight - left @ right
        sparse = _largest(rest, rest.abs() * scales, rank[1])
        error = metric.whiten(rest - sparse).norm(dim=(-2, -1), keepdim=True)
        found = (sparse, left, right)
        kept = tuple(torch.where(error < best, *pair) for pair in zip(found, kept or found, strict=True))
        best = torch.minimum(error, best)
    return kept


def _scales(metric: Metric) -> Tensor | float:
    """Norm of an error of one in each entry alone, by which entries are compared."""
    columns = metric.right
    if columns is not None and columns.ndim == 2:
        columns = columns.norm(dim=-1)
    rows = 1.0 if metric.left is None else metric.left.unsqueeze(-1)
    return rows if columns is None else rows * columns


def _largest(values: Tensor, sizes: Tensor, n_kept: int) -> Tensor:
    """Set all but the largest to zero."""
    indices = sizes.flatten(-2).topk(n_kept, sorted=False).indices
    flat = values.flatten(-2)
    return torch.zeros_like(flat).scatter(-1, indices, flat.gather(-1, indices)).view_as(values)
