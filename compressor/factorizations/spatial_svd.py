"""Kernels of convolutions that are separated into one along the height and one along the width."""

from collections.abc import Sequence

from torch import Tensor

from compressor.factorizations import Equation, Factors
from compressor.numerics import ranks
from compressor.numerics.low_rank import balanced
from compressor.numerics.metric import PLAIN, Metric
from compressor.numerics.refit import refit

USE = "speed"
TAKES = "tensor"


def factor(kernel: Tensor, *, rank: int, metric: Metric | None = None) -> Factors:
    """Approximate a kernel by one along the height and one along the width, the best of a rank.

    The kernel is laid out as a matrix of shape (n_out width, n_in height), whose truncated singular value decomposition
    it is. With a metric the factors are refitted in its norm.

    Parameters
    ----------
    kernel : Tensor, shape (*batch, n_out, n_in, height, width)
        The kernel; finite.
    rank : int, 1 to min(n_out width, n_in height)
        Number of channels between the two.
    metric : Metric, optional
        Norm of the error, whose columns are the last axes; Frobenius by default.

    Returns
    -------
    tuple of Tensor, shapes (*batch, n_out, rank, width) and (*batch, rank, n_in, height)
        The convolution along the width, and the one along the height, which comes first.

    Raises
    ------
    ValueError
        If the rank does not fit or the kernel is not finite.

    References
    ----------
    .. [1] M. Jaderberg, A. Vedaldi, A. Zisserman, "Speeding up convolutional neural networks with low rank expansions",
       2014, arXiv:1405.3866.

    Examples
    --------
    >>> import torch
    >>> kernel = torch.ones(2, 3, 5, 7)
    >>> [tuple(each.shape) for each in factor(kernel, rank=1)]
    [(2, 1, 7), (1, 3, 5)]
    """
    ranks.check_finite(kernel)
    n_out, n_in, height, width = kernel.shape[-4:]
    ranks.check_rank(rank, min(n_out * width, n_in * height), kernel.shape)
    matrix = kernel.double().movedim(-1, -3).flatten(-4, -3).flatten(-2)
    rows, columns = balanced(matrix, rank, PLAIN)
    factors: Factors = (rows.unflatten(-2, (n_out, width)).transpose(-1, -2), columns.unflatten(-1, (n_in, height)))
    if metric is not None:
        factors = refit(factors, equation(factors), kernel, metric)
    return tuple(each.to(kernel.dtype) for each in factors)


def rebuild(factors: Factors) -> Tensor:
    """Multiply the two along the channels between them."""
    return equation(factors).rebuild(factors)


def equation(factors: Factors) -> Equation:
    """Say that both share the channels between them."""
    return Equation((("orw", "rih"),), ("o", "i", "h", "w"))


def rank_for(shape: Sequence[int], *, budget: float) -> int:
    """Largest rank whose two factors have at most ``budget`` times the numbers of the kernel."""
    n_out, n_in, height, width = shape[-4:]
    return ranks.within(budget, shape[-4:], n_params(shape, rank=1), min(n_out * width, n_in * height))


def n_params(shape: Sequence[int], *, rank: int) -> int:
    """Count the numbers in both factors."""
    n_out, n_in, height, width = shape[-4:]
    return rank * (n_out * width + n_in * height)


def factor_kernel(kernel: Tensor, *, rank: int) -> tuple[Equation, Factors]:
    """Give the factors with their equation."""
    factors = factor(kernel, rank=rank)
    return equation(factors), factors


kernel_rank_for, kernel_n_params = rank_for, n_params
