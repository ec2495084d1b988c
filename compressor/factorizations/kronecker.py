"""A sum of Kronecker products: the nearest of a number of terms, in closed form."""

from collections.abc import Sequence
from itertools import product
from math import log, prod

from torch import Tensor

from compressor.factorizations import Equation, Factors
from compressor.numerics import ranks
from compressor.numerics.divisors import divisors
from compressor.numerics.low_rank import balanced
from compressor.numerics.metric import PLAIN, Metric
from compressor.numerics.refit import refit

USE = "storage"
TAKES = "matrix"


def factor(weight: Tensor, *, rank: int, shape: Sequence[int], metric: Metric | None = None) -> Factors:
    """Approximate a matrix by a sum of Kronecker products, the nearest in the Frobenius norm.

    Van Loan's rearrangement makes a row of each block of the matrix; the singular value decomposition of that gives
    the terms. With a metric the factors are refitted from there, by alternating least squares.

    Parameters
    ----------
    weight : Tensor, shape (*batch, n_rows, n_columns)
        The matrix; finite.
    rank : int, >= 1
        Number of terms; at most the number of entries of the smaller factor.
    shape : two ints
        Shape of the left factors; they divide that of the matrix.
    metric : Metric, optional
        Norm of the error; Frobenius by default.

    Returns
    -------
    tuple of Tensor, shapes (*batch, rank, *shape) and (*batch, rank, n_rows / shape[0], n_columns / shape[1])
        Left and right factors of each term; each has the root of its singular value.

    Raises
    ------
    ValueError
        If the rank or the shape does not fit, or the weight is not finite.

    References
    ----------
    .. [1] C. F. Van Loan, N. Pitsianis, "Approximation with Kronecker products", 1993,
       DOI 10.1007/978-94-015-8196-7_17.

    Examples
    --------
    >>> import torch
    >>> weight = torch.kron(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0], [4.0]]))
    >>> factors = factor(weight, rank=1, shape=(1, 2))
    >>> rebuild(factors).round().tolist()
    [[3.0, 6.0], [4.0, 8.0]]
    """
    ranks.check_finite(weight)
    left, right = _shapes(weight.shape, shape)
    ranks.check_rank(rank, min(prod(left), prod(right)), weight.shape)
    divided = weight.double().reshape(*weight.shape[:-2], left[0], right[0], left[1], right[1])
    rearranged = divided.transpose(-3, -2).flatten(-4, -3).flatten(-2, -1)
    first, second = balanced(rearranged, rank, PLAIN)
    factors: Factors = (first.mT.unflatten(-1, left), second.unflatten(-1, right))
    if metric is not None:
        factors = refit(factors, equation(factors), weight, metric)
    return tuple(each.to(weight.dtype) for each in factors)


def rebuild(factors: Factors) -> Tensor:
    """Add the Kronecker products."""
    return equation(factors).rebuild(factors)


def equation(factors: Factors) -> Equation:
    """Say that the matrix is the sum over terms of left x right."""
    return Equation((("tab", "tcd"),), ("ac", "bd"))


def form_for(weight_shape: Sequence[int], /) -> dict[str, tuple[int, int]]:
    """Choose the shape with the fewest numbers in a term: both factors are about as large, and about as square."""
    n_rows, n_columns = weight_shape[-2:]

    def cost(left: tuple[int, int]) -> tuple[int, float]:
        n_params = prod(left) + n_rows * n_columns // prod(left)
        return n_params, abs(log(left[0] ** 2 / n_rows)) + abs(log(left[1] ** 2 / n_columns))

    return {"shape": min(product(divisors(n_rows), divisors(n_columns)), key=cost)}


def rank_for(weight_shape: Sequence[int], /, *, budget: float, shape: Sequence[int]) -> int:
    """Largest number of terms whose factors have at most ``budget`` times the numbers of the matrix."""
    left, right = _shapes(weight_shape, shape)
    return ranks.within(budget, weight_shape, prod(left) + prod(right), min(prod(left), prod(right)))


def n_params(weight_shape: Sequence[int], /, *, rank: int, shape: Sequence[int]) -> int:
    """Count the numbers in all factors."""
    return rank * sum(map(prod, _shapes(weight_shape, shape)))


def _shapes(weight_shape: Sequence[int], shape: Sequence[int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Shapes of the left and the right factors."""
    (n_rows, n_columns), left = weight_shape[-2:], tuple(shape)
    if len(left) != 2 or min(left) < 1 or n_rows % left[0] or n_columns % left[1]:
        raise ValueError(f"shape: must be two divisors of the matrix's {n_rows}, {n_columns}, got {left}")
    return (left[0], left[1]), (n_rows // left[0], n_columns // left[1])
