"""The tensor train of a matrix whose rows and columns are divided: each core has a piece of both."""

import math
from collections.abc import Sequence
from string import ascii_lowercase, ascii_uppercase

from torch import Tensor

from compressor.factorizations import Equation, Factors
from compressor.numerics import ranks, trains
from compressor.numerics.divisors import divided
from compressor.numerics.metric import Metric
from compressor.numerics.refit import refit

USE = "storage"
TAKES = "matrix"
N_CORES = 3  # by default
Shape = tuple[tuple[int, ...], tuple[int, ...]]


def factor(weight: Tensor, *, rank: tuple[int, ...], shape: Shape, metric: Metric | None = None) -> Factors:
    """Approximate a matrix by a train of cores of order four, by successive truncated SVDs.

    It is the tensor train over pairs of modes, one of the rows and one of the columns. Two pairs are a sum of Kronecker
    products. With a metric, the cores are refitted in its norm.

    Parameters
    ----------
    weight : Tensor, shape (*batch, n_rows, n_columns)
        The matrix; finite.
    rank : tuple of int
        Sizes of the links before, between and after the pairs; the first and the last are 1.
    shape : pair of tuple of int
        Sizes of the modes of the rows and of the columns, as many of each; their products are n_rows and n_columns.
    metric : Metric, optional
        Norm of the error; Frobenius by default.

    Returns
    -------
    tuple of Tensor, shapes (*batch, rank, row mode, column mode, next rank)
        One core for each pair of modes.

    Raises
    ------
    ValueError
        If the ranks or the shape do not fit or the weight is not finite.

    References
    ----------
    .. [1] I. V. Oseledets, "Approximation of 2^d x 2^d matrices using tensor decomposition", 2010,
       DOI 10.1137/090757861.
    .. [2] A. Novikov et al., "Tensorizing neural networks", 2015, arXiv:1509.06569.

    Examples
    --------
    >>> import torch
    >>> cores = factor(torch.eye(6), rank=(1, 1, 1), shape=((2, 3), (2, 3)))
    >>> [tuple(core.shape) for core in cores], bool(rebuild(cores).allclose(torch.eye(6)))
    ([(1, 2, 2, 1), (1, 3, 3, 1)], True)
    """
    ranks.check_finite(weight)
    _check_shape(weight.shape[-2:], shape)
    sizes, batch, order = _pairs(shape), weight.shape[:-2], len(shape[0])
    trains.check(sizes, rank)
    modes = weight.double().reshape(*batch, *shape[0], *shape[1])
    paired = [len(batch) + k + side * order for k in range(order) for side in (0, 1)]
    cores = trains.split(modes.permute(*range(len(batch)), *paired).reshape(*batch, *sizes), rank)
    found = tuple(core.unflatten(-2, pair) for core, pair in zip(cores, zip(*shape, strict=True), strict=True))
    if metric is not None:
        found = refit(found, equation(found), weight, metric)
    return tuple(core.to(weight.dtype) for core in found)


def rebuild(factors: Factors) -> Tensor:
    """Multiply the cores from left to right and join the modes of rows and of columns."""
    return equation(factors).rebuild(factors)


def equation(factors: Factors) -> Equation:
    """Say that each core has a letter of the rows, one of the columns, and large ones of its links."""
    letters, links = ascii_lowercase[: 2 * len(factors)], ascii_uppercase[: len(factors) + 1]
    rows, columns = letters[::2], letters[1::2]
    return Equation((tuple(map("".join, zip(links, rows, columns, links[1:], strict=False))),), (rows, columns))


def form_for(sizes: Sequence[int]) -> dict[str, Shape]:
    """Divide both sides into three modes that are about equal; large modes of rows go with small ones of columns."""
    n_rows, n_columns = sizes[-2:]
    return {"shape": (divided(n_rows, N_CORES), divided(n_columns, N_CORES)[::-1])}


def rank_for(sizes: Sequence[int], *, budget: float, shape: Shape) -> tuple[int, ...]:
    """Choose ranks whose cores have at most ``budget`` times the numbers of the matrix: as equal as can be."""
    _check_shape(sizes, shape)
    return trains.equal(_pairs(shape), budget)


def n_params(sizes: Sequence[int], *, rank: tuple[int, ...], shape: Shape) -> int:
    """Count the numbers in the cores."""
    _check_shape(sizes, shape)
    return trains.n_params(_pairs(shape), rank)


def _pairs(shape: Shape) -> tuple[int, ...]:
    return tuple(map(math.prod, zip(*shape, strict=True)))


def _check_shape(sizes: Sequence[int], shape: Shape) -> None:
    if len(shape) != 2 or len(shape[0]) != len(shape[1]) or tuple(map(math.prod, shape)) != tuple(sizes):
        raise ValueError(
            f"shape: must be as many modes of rows as of columns, whose products are {tuple(sizes)}; got {shape}"
        )
