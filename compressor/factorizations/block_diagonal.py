"""Block-diagonal matrices: the nearest in the norm of any metric, in closed form."""

from collections.abc import Sequence
from math import gcd, prod

import torch
from torch import Tensor

from compressor.factorizations import Equation, Factors
from compressor.numerics import ranks
from compressor.numerics.metric import Metric

USE = "speed"
TAKES = "matrix"


def factor(weight: Tensor, *, rank: int, metric: Metric | None = None) -> Factors:
    """Approximate a matrix by equal blocks on its diagonal.

    The rank fixes their number: the largest common divisor of ``n_rows`` and ``n_columns`` by the rank. So the blocks
    of a square matrix are of size rank x rank, and four blocks of a matrix of (1536, 384) have rank 96.

    The nearest matrix in the Frobenius norm keeps the entries of the blocks. A second moment lets them stand in for
    what the others would have added: each row is then the solution of a least-squares problem, exactly.

    Parameters
    ----------
    weight : Tensor, shape (*batch, n_rows, n_columns)
        The matrix; finite.
    rank : int, a divisor of gcd(n_rows, n_columns)
        Size of the blocks, in units of the smallest that are possible; the matrix has ``rank`` times their numbers.
    metric : Metric, optional
        Norm of the error; Frobenius by default.

    Returns
    -------
    tuple of one Tensor, shape (*batch, n_blocks, n_rows / n_blocks, n_columns / n_blocks)
        The blocks, from the top left.

    Raises
    ------
    ValueError
        If the rank does not fit or the weight is not finite.

    Examples
    --------
    >>> blocks = factor(torch.arange(16.0).reshape(4, 4), rank=2)
    >>> blocks[0].tolist()
    [[[0.0, 1.0], [4.0, 5.0]], [[10.0, 11.0], [14.0, 15.0]]]
    """
    ranks.check_finite(weight)
    most = gcd(*weight.shape[-2:])
    ranks.check_rank(rank, most, weight.shape)
    if most % rank:
        raise ValueError(f"rank: must divide {most}, the common divisor of shape {tuple(weight.shape)}, got {rank}")
    n_blocks = most // rank
    if metric is None or metric.right is None or metric.right.ndim == 1:
        return (_diagonal(weight, n_blocks).clone(memory_format=torch.contiguous_format),)
    moment = metric.right @ metric.right.T
    read = _diagonal(weight.double() @ moment, n_blocks)  # the normal equations of each row
    return (torch.linalg.solve(_diagonal(moment, n_blocks), read, left=False).to(weight.dtype),)


def _diagonal(matrix: Tensor, n_blocks: int) -> Tensor:
    """View the blocks on the diagonal: shape (*batch, n_blocks, rows, columns)."""
    n_rows, n_columns = (size // n_blocks for size in matrix.shape[-2:])
    grid = matrix.reshape(*matrix.shape[:-2], n_blocks, n_rows, n_blocks, n_columns)
    return grid.diagonal(dim1=-4, dim2=-2).movedim(-1, -3)


def rebuild(factors: Factors) -> Tensor:
    """Put the blocks on the diagonal of a matrix of zeros."""
    return equation(factors).rebuild(factors)


def equation(factors: Factors) -> Equation:
    """Say that rows and columns share the index of their block."""
    return Equation((("bij",),), ("bi", "bj"))


def rank_for(shape: Sequence[int], *, budget: float) -> int:
    """Largest rank whose blocks have at most ``budget`` times the numbers of the matrix."""
    most = gcd(*shape[-2:])
    divisors = [rank for rank in range(1, most + 1) if most % rank == 0]
    return divisors[
        ranks.largest(budget, shape, lambda place: n_params(shape, rank=divisors[place - 1]), len(divisors)) - 1
    ]


def n_params(shape: Sequence[int], *, rank: int) -> int:
    """Count the numbers in the blocks."""
    return rank * prod(shape[-2:]) // gcd(*shape[-2:])
