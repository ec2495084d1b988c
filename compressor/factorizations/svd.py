"""The singular value decomposition, truncated: the best approximation of a rank, in closed form."""

from collections.abc import Sequence

import torch
from torch import Tensor

from compressor.factorizations import Equation, Factors
from compressor.numerics import ranks
from compressor.numerics.metric import PLAIN, Metric

USE = "speed"


def factor(weight: Tensor, *, rank: int, metric: Metric | None = None) -> Factors:
    """Approximate a matrix by a product of two, the best of its rank in the norm of the metric.

    With a second moment this is the whitened SVD, with a diagonal scale ASVD, with Fisher rows FWSVD.

    Parameters
    ----------
    weight : Tensor, shape (*batch, n_rows, n_columns)
        The matrix; finite.
    rank : int, 1 to min(n_rows, n_columns)
        Number of singular values that are kept.
    metric : Metric, optional
        Norm of the error; Frobenius by default.

    Returns
    -------
    tuple of Tensor, shapes (*batch, n_rows, rank) and (*batch, rank, n_columns)
        Each has the root of the singular values.

    Raises
    ------
    ValueError
        If the rank does not fit or the weight is not finite.

    References
    ----------
    .. [1] C. Eckart, G. Young, "The approximation of one matrix by another of lower rank", 1936.

    Examples
    --------
    >>> left, right = factor(torch.tensor([[3.0, 4.0], [6.0, 8.0]]), rank=1)
    >>> (left @ right).round().tolist()
    [[3.0, 4.0], [6.0, 8.0]]
    """
    metric = metric or PLAIN
    ranks.check_finite(weight)
    ranks.check_rank(rank, min(weight.shape[-2:]), weight.shape)
    left, values, right = torch.linalg.svd(metric.whiten(weight), full_matrices=False)
    roots = values[..., :rank].sqrt()
    rows = metric.unwhiten_rows(left[..., :rank] * roots.unsqueeze(-2))
    columns = metric.unwhiten_columns(roots.unsqueeze(-1) * right[..., :rank, :])
    return rows.to(weight.dtype), columns.to(weight.dtype)


def rebuild(factors: Factors) -> Tensor:
    """Multiply the two factors."""
    return equation(factors).rebuild(factors)


def equation(factors: Factors) -> Equation:
    """Say that the matrix is the product of the two."""
    return Equation((("ir", "rj"),), ("i", "j"))


def rank_for(shape: Sequence[int], *, budget: float) -> int:
    """Largest rank whose two factors have at most ``budget`` times the numbers of the matrix."""
    return ranks.within(budget, shape, sum(shape), min(shape))


def n_params(shape: Sequence[int], *, rank: int) -> int:
    """Count the numbers in both factors."""
    return rank * sum(shape)
