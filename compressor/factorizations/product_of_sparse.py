"""Products of sparse matrices (PSM) without a fixed pattern, by hierarchical PALM4MSA."""

import string
from collections.abc import Sequence
from math import floor, prod

from torch import Tensor

from compressor.factorizations import Equation, Factors
from compressor.numerics import ranks
from compressor.numerics.metric import PLAIN, Metric
from compressor.numerics.refit import refit
from compressor.transforms.hierarchical import hierarchical

USE = "storage"
TAKES = "matrix"
N_SWEEPS = 30  # of each run of PALM4MSA


def factor(weight: Tensor, *, rank: int, n_factors: int = 2, metric: Metric | None = None) -> Factors:
    """Approximate a matrix by a product of sparse factors whose pattern is found.

    The pattern is that of the matrix, found by `compressor.transforms.hierarchical`; with a metric also that of the
    matrix scaled by it, and the better of both is kept. For a second moment the entries of the factors are then
    refitted, by alternating least squares.

    Parameters
    ----------
    weight : Tensor, shape (*batch, n_rows, n_columns)
        The matrix; finite.
    rank : int, n_factors to the number of entries of the matrix
        Number of entries of all factors that are not zero.
    n_factors : int, >= 2
        Number of factors.
    metric : Metric, optional
        Norm of the error; Frobenius by default.

    Returns
    -------
    tuple of Tensor
        The factors with their zeros, from the left; one has the shape of the matrix, the others are square with its
        smaller side.

    Raises
    ------
    ValueError
        If a number is out of range, or the weight is not finite.

    Notes
    -----
    A local optimum. On an encoder's FFN of 1536 x 384 it takes several CPU seconds.

    References
    ----------
    .. [1] L. Giffon, S. Ayache, H. Kadri, T. Artieres, R. Sicre, "PSM-nets: compressing neural networks with product of
       sparse matrices", IJCNN 2021.

    Examples
    --------
    >>> import torch
    >>> left, right = factor(torch.tensor([[2.0, 4.0], [1.0, 2.0]]), rank=4)
    >>> int((left != 0).sum() + (right != 0).sum())
    4
    """
    ranks.check_finite(weight)
    if n_factors < 2:
        raise ValueError(f"n_factors: must be >= 2, got {n_factors}")
    most = prod(weight.shape[-2:])
    if not n_factors <= rank <= most:
        raise ValueError(f"rank: must be {n_factors} to {most} entries for shape {tuple(weight.shape)}, got {rank}")
    found = [_in_pattern_of(PLAIN, weight, rank, n_factors, metric or PLAIN)]
    if metric is not None:
        found.append(_in_pattern_of(_diagonal(metric), weight, rank, n_factors, metric))
    best = min(found, key=lambda factors: (metric or PLAIN).error(weight, rebuild(factors)))
    return tuple(each.to(weight.dtype) for each in best)


def _in_pattern_of(scales: Metric, weight: Tensor, rank: int, n_factors: int, metric: Metric) -> Factors:
    """Find the pattern of the scaled matrix, and the entries in it for the metric."""
    first, *others = hierarchical(
        scales.whiten(weight), n_factors=n_factors, n_nonzeros=rank, n_sweeps=N_SWEEPS
    ).factors
    factors: Factors = (scales.unwhiten_rows(first), *others[:-1], scales.unwhiten_columns(others[-1]))
    if metric.right is not None and metric.right.ndim == 2:
        factors = refit(factors, equation(factors), weight, metric)
    return factors


def rebuild(factors: Factors) -> Tensor:
    """Multiply the factors."""
    return equation(factors).rebuild(factors)


def equation(factors: Factors) -> Equation:
    """Say that the matrix is the product of all factors, whose zeros stay."""
    letters = string.ascii_lowercase[: len(factors) + 1]
    term = tuple(letters[i : i + 2] for i in range(len(factors)))
    return Equation((term,), (letters[0], letters[-1]), sparse=tuple(range(len(factors))))


def rank_for(shape: Sequence[int], *, budget: float, n_factors: int = 2) -> int:
    """Find how many entries, with an index for each, are at most ``budget`` times those of the matrix."""
    ranks.check_budget(budget)
    most = floor(budget * prod(shape)) // 2
    if most < n_factors:
        raise ranks.below(budget, shape, n_params(shape, rank=n_factors, n_factors=n_factors))
    return min(most, prod(shape))


def n_params(shape: Sequence[int], *, rank: int, n_factors: int = 2) -> int:
    """Count the entries of the factors and their indices, one for each."""
    return 2 * rank


def _diagonal(metric: Metric) -> Metric:
    """Scale each column by the norm of an error of one in it alone, where a metric mixes columns."""
    if metric.right is None or metric.right.ndim == 1:
        return metric
    columns = metric.right.norm(dim=-1)
    return Metric(metric.left, columns, 1 / columns)
