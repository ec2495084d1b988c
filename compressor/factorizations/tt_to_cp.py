"""CP by way of a tensor train: closed form for high orders, where alternating least squares from other starts fail."""

from collections.abc import Sequence
from string import ascii_lowercase

from torch import Tensor

from compressor.factorizations import Equation, Factors
from compressor.numerics import als, coupled_cp, ranks
from compressor.numerics.metric import Metric
from compressor.numerics.refit import refit

USE = "storage"
TAKES = "tensor"


def factor(tensor: Tensor, *, rank: int, metric: Metric | None = None, n_iterations: int = 50) -> Factors:
    """Approximate a tensor by a sum of ``rank`` outer products, computed from the cores of its tensor train.

    The cores of a train of such a tensor are coupled CP tensors of order three, which linear algebra solves: a sum of
    so many outer products, of generic vectors, is recovered exactly. Where there is noise, alternating least squares
    then lowers the error. With a metric, the factors are refitted in its norm. A batch is not taken.

    Parameters
    ----------
    tensor : Tensor, shape sizes
        A tensor of at least three modes; finite. Its two largest modes become the ends of the train.
    rank : int, 1 to the second largest size
        Number of terms; `cp` takes larger ones.
    metric : Metric, optional
        Norm of the error, whose columns are the last modes; Frobenius by default.
    n_iterations : int, >= 0
        Most sweeps of alternating least squares; 0 leaves the closed form.

    Returns
    -------
    tuple of Tensor, shapes (size, rank)
        One factor for each mode, as of `cp`: a term's vectors share its norm equally.

    Raises
    ------
    ValueError
        If the rank does not fit, there are fewer than three modes or the tensor is not finite.

    References
    ----------
    .. [1] Y. Zniyed, R. Boyer, A. L. F. de Almeida, G. Favier, "High-order tensor estimation via trains of coupled
       third-order CP and Tucker decompositions", Linear Algebra and its Applications 588, 2020.

    Examples
    --------
    >>> import torch
    >>> factors = factor(torch.ones(2, 3, 4), rank=1)
    >>> [tuple(each.shape) for each in factors], bool(rebuild(factors).allclose(torch.ones(2, 3, 4)))
    ([(2, 1), (3, 1), (4, 1)], True)
    """
    ranks.check_finite(tensor)
    ranks.check_rank(rank, _most(tensor.shape), tensor.shape)
    *inner, second, first = sorted(range(tensor.ndim), key=lambda mode: tensor.shape[mode])
    train = (first, *sorted(inner), second)
    along = coupled_cp.factors_of(tensor.double().permute(train), rank)
    start = [along[train.index(mode)] for mode in range(tensor.ndim)]
    found = tuple(als.improve(tensor.double(), start, n_iterations))
    if metric is not None:
        found = refit(found, equation(found), tensor, metric)
    return tuple(each.to(tensor.dtype) for each in found)


def rebuild(factors: Factors) -> Tensor:
    """Sum the outer products."""
    return equation(factors).rebuild(factors)


def equation(factors: Factors) -> Equation:
    """Say that all factors share the letter of the rank, which is large."""
    axes = ascii_lowercase[: len(factors)]
    return Equation((tuple(axis + "R" for axis in axes),), tuple(axes))


def rank_for(shape: Sequence[int], *, budget: float) -> int:
    """Largest rank that a train yields whose factors have at most ``budget`` times the numbers of the tensor."""
    return ranks.within(budget, shape, sum(shape), _most(shape))


def n_params(shape: Sequence[int], *, rank: int) -> int:
    """Count the numbers in the factors."""
    return rank * sum(shape)


def _most(shape: Sequence[int]) -> int:
    if len(shape) < 3:
        raise ValueError(f"tensor: must have at least three modes, got shape {tuple(shape)}; take svd for a matrix")
    return sorted(shape)[-2]
