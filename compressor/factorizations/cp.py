"""The canonical polyadic decomposition (CP): a sum of outer products of vectors."""

import math
from collections.abc import Sequence
from string import ascii_lowercase

from torch import Tensor

from compressor.factorizations import Equation, Factors
from compressor.numerics import als, ranks
from compressor.numerics.metric import Metric
from compressor.numerics.refit import refit

USE = "storage"
TAKES = "tensor"


def factor(tensor: Tensor, *, rank: int, metric: Metric | None = None, n_iterations: int = 150) -> Factors:
    """Approximate a tensor by a sum of ``rank`` outer products of one vector for each mode.

    Alternating least squares, from the singular vectors of the unfoldings; the error never rises. With a metric, the
    factors are refitted in its norm. A batch is not taken.

    Parameters
    ----------
    tensor : Tensor, shape sizes
        A tensor of at least two modes; finite.
    rank : int, 1 to the number of entries over the largest size
        Number of terms.
    metric : Metric, optional
        Norm of the error, whose columns are the last modes; Frobenius by default.
    n_iterations : int, >= 0
        Most sweeps over the factors.

    Returns
    -------
    tuple of Tensor, shapes (size, rank)
        One factor for each mode. Terms have no weights of their own: a term's vectors share its norm equally.

    Raises
    ------
    ValueError
        If the rank does not fit or the tensor is not finite.

    Notes
    -----
    A tensor can have no best approximation of a rank: terms then grow without bound while they cancel each other, and
    rounding ruins the sum. The iterations end before the norms of the terms sum to 1,000 times the norm of the tensor.
    The result is a local optimum that depends on the start, which is always the same.

    References
    ----------
    .. [1] J. D. Carroll, J.-J. Chang, "Analysis of individual differences in multidimensional scaling via an n-way
       generalization of Eckart-Young decomposition", 1970, DOI 10.1007/BF02310791.
    .. [2] V. de Silva, L.-H. Lim, "Tensor rank and the ill-posedness of the best low-rank approximation problem",
       2008, DOI 10.1137/06066518X.

    Examples
    --------
    >>> import torch
    >>> factors = factor(torch.ones(2, 3, 4), rank=1)
    >>> [tuple(each.shape) for each in factors], bool(rebuild(factors).allclose(torch.ones(2, 3, 4)))
    ([(2, 1), (3, 1), (4, 1)], True)
    """
    ranks.check_finite(tensor)
    ranks.check_rank(rank, _most(tensor.shape), tensor.shape)
    whole = tensor.double()
    found = tuple(als.improve(whole, als.start(whole, rank), n_iterations))
    if metric is not None:
        found = refit(found, equation(found), whole, metric)
    return tuple(each.to(tensor.dtype) for each in found)


def rebuild(factors: Factors) -> Tensor:
    """Sum the outer products."""
    return equation(factors).rebuild(factors)


def equation(factors: Factors) -> Equation:
    """Say that all factors share the letter of the rank, which is large."""
    axes = ascii_lowercase[: len(factors)]
    return Equation((tuple(axis + "R" for axis in axes),), tuple(axes))


def rank_for(shape: Sequence[int], *, budget: float) -> int:
    """Largest rank whose factors have at most ``budget`` times the numbers of the tensor."""
    return ranks.within(budget, shape, sum(shape), _most(shape))


def n_params(shape: Sequence[int], *, rank: int) -> int:
    """Count the numbers in the factors."""
    return rank * sum(shape)


def _most(shape: Sequence[int]) -> int:
    """Count the terms that are enough for any tensor of this shape."""
    return math.prod(shape) // max(shape)


def factor_kernel(kernel: Tensor, *, rank: int) -> tuple[Equation, Factors]:
    """Approximate a kernel by two 1x1 ones, and between them one along each axis, of each channel by itself.

    Parameters
    ----------
    kernel : Tensor, shape (n_out, n_in, height, width)
        The kernel; finite.
    rank : int
        Number of channels between.

    Returns
    -------
    Equation and tuple of Tensor, shapes (n_out, rank), (rank, n_in), (rank, height) and (rank, width)
        The convolutions.

    References
    ----------
    .. [1] V. Lebedev et al., "Speeding-up convolutional neural networks using fine-tuned CP-decomposition", 2015,
       arXiv:1412.6553.
    """
    rows, columns, height, width = factor(kernel, rank=rank)
    return Equation((("or", "ri", "rh", "rw"),), ("o", "i", "h", "w")), (rows, columns.mT, height.mT, width.mT)


def kernel_rank_for(shape: Sequence[int], *, budget: float) -> int:
    """Largest rank whose convolutions have at most ``budget`` times the numbers of the kernel."""
    return rank_for(shape, budget=budget)


def kernel_n_params(shape: Sequence[int], *, rank: int) -> int:
    """Count the numbers in the convolutions."""
    return n_params(shape, rank=rank)
