"""The tensor train: a chain of cores, one for each mode, each linked to the next."""

from collections.abc import Sequence
from string import ascii_lowercase, ascii_uppercase

from torch import Tensor

from compressor.factorizations import Equation, Factors
from compressor.numerics import rank_tuples, ranks, trains
from compressor.numerics.metric import Metric
from compressor.numerics.refit import refit

USE = "storage"
TAKES = "tensor"


def factor(tensor: Tensor, *, rank: tuple[int, ...], metric: Metric | None = None) -> Factors:
    """Approximate a tensor by a train of cores of order three, by successive truncated SVDs.

    The error is at most the root of the number of links times that of the best train of these ranks, and zero where
    the ranks are those of the tensor's unfoldings. With a metric, the cores are refitted in its norm.

    Parameters
    ----------
    tensor : Tensor, shape (*batch, *sizes)
        A tensor with one mode fewer than there are ranks, after any batch dimensions; finite.
    rank : tuple of int
        Sizes of the links before, between and after the modes; the first and the last are 1.
    metric : Metric, optional
        Norm of the error, whose columns are the last modes; Frobenius by default.

    Returns
    -------
    tuple of Tensor, shapes (*batch, rank, size, next rank)
        One core for each mode.

    Raises
    ------
    ValueError
        If the ranks do not fit or the tensor is not finite.

    References
    ----------
    .. [1] I. V. Oseledets, "Tensor-train decomposition", 2011, DOI 10.1137/090752286.

    Examples
    --------
    >>> import torch
    >>> cores = factor(torch.ones(2, 3, 4), rank=(1, 1, 1, 1))
    >>> [tuple(core.shape) for core in cores], bool(rebuild(cores).allclose(torch.ones(2, 3, 4)))
    ([(1, 2, 1), (1, 3, 1), (1, 4, 1)], True)
    """
    ranks.check_finite(tensor)
    trains.check(tensor.shape[tensor.ndim + 1 - len(rank) :], rank)
    found = tuple(trains.split(tensor.double(), rank))
    if metric is not None:
        found = refit(found, equation(found), tensor, metric)
    return tuple(core.to(tensor.dtype) for core in found)


def rebuild(factors: Factors) -> Tensor:
    """Multiply the cores from left to right."""
    return equation(factors).rebuild(factors)


def equation(factors: Factors) -> Equation:
    """Say that each core shares its last letter with the next; those of links are large."""
    axes, links = ascii_lowercase[: len(factors)], ascii_uppercase[: len(factors) + 1]
    return Equation((tuple(map("".join, zip(links, axes, links[1:], strict=False))),), tuple(axes))


def rank_for(shape: Sequence[int], *, budget: float) -> tuple[int, ...]:
    """Choose ranks whose cores have at most ``budget`` times the numbers of the tensor.

    The link between the most equal halves is truncated and the others are full: then the train is as good as the
    truncated SVD of the halves, which equal ranks are far from where a matrix was divided into modes.
    """
    return trains.halved(shape, budget)


def n_params(shape: Sequence[int], *, rank: tuple[int, ...]) -> int:
    """Count the numbers in the cores."""
    return trains.n_params(shape, rank)


def factor_kernel(kernel: Tensor, *, rank: tuple[int, int, int]) -> tuple[Equation, Factors]:
    """Approximate a kernel by four: 1x1, along the height, along the width, and 1x1.

    Parameters
    ----------
    kernel : Tensor, shape (n_out, n_in, height, width)
        The kernel; finite.
    rank : three ints
        Channels between them, from the input.

    Returns
    -------
    Equation and tuple of Tensor
        The convolutions of shapes (n_in, rank[0]), (rank[0], height, rank[1]), (rank[1], width, rank[2]) and
        (rank[2], n_out).

    References
    ----------
    .. [1] T. Garipov et al., "Ultimate tensorization: compressing convolutional and FC layers alike", 2016,
       arXiv:1611.03214.
    """
    first, *inner, last = factor(kernel.permute(1, 2, 3, 0), rank=(1, *rank, 1))
    equation = Equation((("ix", "xhy", "ywz", "zo"),), ("o", "i", "h", "w"))
    return equation, (first.squeeze(0), *inner, last.squeeze(-1))


def kernel_rank_for(shape: Sequence[int], *, budget: float) -> tuple[int, int, int]:
    """Largest ranks with at most ``budget`` times the numbers of the kernel."""
    n_out, n_in, height, width = shape
    most = rank_tuples.affordable(budget, shape, kernel_n_params(shape, rank=(1, 1, 1)))

    def at(size: int) -> tuple[int, int, int]:
        outer = (min(size, n_in), min(size, n_out))
        return outer[0], min(size, outer[0] * height, outer[1] * width), outer[1]

    size = rank_tuples.largest(max(n_out, n_in), lambda size: kernel_n_params(shape, rank=at(size)) <= most)
    return at(size)


def kernel_n_params(shape: Sequence[int], *, rank: tuple[int, int, int]) -> int:
    """Count the numbers in the four convolutions."""
    n_out, n_in, height, width = shape
    return n_in * rank[0] + rank[0] * height * rank[1] + rank[1] * width * rank[2] + rank[2] * n_out
