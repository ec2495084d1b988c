"""The singular value decomposition, truncated: the best approximation of a rank, in closed form."""

from collections.abc import Sequence
from math import prod

from torch import Tensor

from compressor.factorizations import Equation, Factors
from compressor.numerics import ranks
from compressor.numerics.low_rank import balanced
from compressor.numerics.metric import PLAIN, Metric

USE = "speed"
TAKES = "matrix"


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
    >>> import torch
    >>> left, right = factor(torch.tensor([[3.0, 4.0], [6.0, 8.0]]), rank=1)
    >>> (left @ right).round().tolist()
    [[3.0, 4.0], [6.0, 8.0]]
    """
    ranks.check_finite(weight)
    ranks.check_rank(rank, min(weight.shape[-2:]), weight.shape)
    rows, columns = balanced(weight, rank, metric or PLAIN)
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


def factor_kernel(kernel: Tensor, *, rank: int) -> tuple[Equation, Factors]:
    """Approximate a kernel by one of its size to ``rank`` channels, and a 1x1 one from these (channel SVD).

    Parameters
    ----------
    kernel : Tensor, shape (n_out, n_in, height, width)
        The kernel; finite.
    rank : int
        Number of channels between the two.

    Returns
    -------
    Equation and tuple of Tensor, shapes (n_out, rank) and (rank, n_in, height, width)
        The 1x1 convolution and the other.

    References
    ----------
    .. [1] X. Zhang et al., "Accelerating very deep convolutional networks for classification and detection", 2015,
       arXiv:1505.06798.
    """
    rows, columns = factor(kernel.flatten(1), rank=rank)
    return Equation((("or", "rihw"),), ("o", "i", "h", "w")), (rows, columns.reshape(rank, *kernel.shape[1:]))


def kernel_rank_for(shape: Sequence[int], *, budget: float) -> int:
    """Largest rank whose two convolutions have at most ``budget`` times the numbers of the kernel."""
    return rank_for((shape[0], prod(shape[1:])), budget=budget)


def kernel_n_params(shape: Sequence[int], *, rank: int) -> int:
    """Count the numbers in both convolutions."""
    return n_params((shape[0], prod(shape[1:])), rank=rank)
