"""The Tucker decomposition: a small core and one factor for each mode."""

import math
from collections.abc import Sequence
from string import ascii_lowercase, ascii_uppercase

import torch
from torch import Tensor

from compressor.factorizations import Equation, Factors
from compressor.numerics import modes, rank_tuples, ranks
from compressor.numerics.metric import Metric
from compressor.numerics.refit import refit

USE = "storage"
TAKES = "tensor"


def factor(tensor: Tensor, *, rank: tuple[int, ...], metric: Metric | None = None, n_iterations: int = 50) -> Factors:
    """Approximate a tensor by a core that each mode multiplies by a matrix.

    The start is the truncated higher-order SVD, at most the root of the order worse than the best and exact at full
    rank. Higher-order orthogonal iteration improves it. With a metric, all factors are refitted in its norm.

    Parameters
    ----------
    tensor : Tensor, shape (*batch, *sizes)
        A tensor of as many modes as there are ranks, after any batch dimensions; finite.
    rank : tuple of int, one for each mode
        Sizes of the core: from 1 to the size of the mode, and at most the product of the other ranks.
    metric : Metric, optional
        Norm of the error, whose columns are the last modes; Frobenius by default.
    n_iterations : int, >= 0
        Most sweeps over the modes; 0 leaves the higher-order SVD, the closed form.

    Returns
    -------
    tuple of Tensor
        The core of shape (*batch, *rank), then one factor of shape (*batch, size, rank) for each mode; without a
        metric, the columns of a factor are orthonormal.

    Raises
    ------
    ValueError
        If the ranks do not fit or the tensor is not finite.

    References
    ----------
    .. [1] L. De Lathauwer, B. De Moor, J. Vandewalle, "A multilinear singular value decomposition", 2000,
       DOI 10.1137/S0895479896305696.
    .. [2] L. De Lathauwer, B. De Moor, J. Vandewalle, "On the best rank-1 and rank-(R1, R2, ..., RN) approximation of
       higher-order tensors", 2000, DOI 10.1137/S0895479898346995.

    Examples
    --------
    >>> ones = torch.ones(2, 3, 4)
    >>> core, *factors = factor(ones, rank=(1, 1, 1))
    >>> core.shape, rebuild((core, *factors)).allclose(ones)
    (torch.Size([1, 1, 1]), True)
    """
    ranks.check_finite(tensor)
    modes.check(tensor.shape[-len(rank) :], rank)
    whole = tensor.double()
    factors = modes.refine(whole, modes.bases(whole, rank), n_iterations)
    found: Factors = (modes.core(whole, factors), *factors)
    if metric is not None:
        found = refit(found, equation(found), whole, metric)
    return tuple(each.to(tensor.dtype) for each in found)


def rebuild(factors: Factors) -> Tensor:
    """Multiply each mode of the core by its factor."""
    return equation(factors).rebuild(factors)


def equation(factors: Factors) -> Equation:
    """Say that the core, whose letters are large, meets one factor for each mode."""
    inner, axes = ascii_uppercase[: len(factors) - 1], ascii_lowercase[: len(factors) - 1]
    return Equation(((inner, *map("".join, zip(axes, inner, strict=True))),), tuple(axes))


def rank_for(shape: Sequence[int], *, budget: float, tensor: Tensor | None = None) -> tuple[int, ...]:
    """Choose ranks whose factors have at most ``budget`` times the numbers of the tensor.

    From the shape alone the ranks are equal, but for modes that are smaller. With the tensor they are those, of all
    within the budget, at which its truncated higher-order SVD has the smallest error; where a matrix was divided into
    modes that have no structure, these are the ranks that truncate one mode, as the SVD does.
    """

    def counted(rank: tuple[int, ...]) -> int:
        return n_params(shape, rank=rank)

    most = rank_tuples.affordable(budget, shape, counted((1,) * len(shape)))
    if tensor is None:
        return modes.equal_ranks(shape, counted, most)
    return rank_tuples.grown(_best(tensor, most), lambda rank: modes.fits(shape, rank) and counted(rank) <= most)


def n_params(shape: Sequence[int], *, rank: tuple[int, ...]) -> int:
    """Count the numbers in the core and the factors."""
    return math.prod(rank) + sum(size * each for size, each in zip(shape, rank, strict=True))


def _best(tensor: Tensor, most: int) -> tuple[int, ...]:
    """Ranks of at most so many numbers that keep the largest norm of the core, whose corners hold all norms."""
    kept = modes.core(
        tensor.double(), modes.bases(tensor.double(), modes.capped(tensor.shape, max(tensor.shape)))
    ).square()
    for mode in range(kept.ndim):
        kept = kept.cumsum(dim=mode)
    steps = [torch.arange(1, size + 1, device=kept.device).double() for size in kept.shape]
    grids = torch.meshgrid(*steps, indexing="ij")
    product = torch.stack(grids).prod(dim=0)
    counts = product + sum(size * each for size, each in zip(tensor.shape, grids, strict=True))
    fitting = (counts <= most) & (torch.stack(grids).square() <= product).all(dim=0)
    allowed = torch.where(fitting, kept, -1.0)
    return tuple(int(i) + 1 for i in torch.unravel_index(allowed.argmax(), kept.shape))


def factor_kernel(kernel: Tensor, *, rank: tuple[int, int]) -> tuple[Equation, Factors]:
    """Approximate a kernel by a smaller one between two 1x1 ones (Tucker-2).

    Parameters
    ----------
    kernel : Tensor, shape (n_out, n_in, height, width)
        The kernel; finite.
    rank : two ints
        Channels that the smaller kernel writes and reads.

    Returns
    -------
    Equation and tuple of Tensor, shapes (n_out, rank[0]), (rank[0], rank[1], height, width) and (rank[1], n_in)
        The three convolutions, the last one first.

    References
    ----------
    .. [1] Y.-D. Kim et al., "Compression of deep convolutional neural networks for fast and low power mobile
       applications", 2016, arXiv:1511.06530.
    """
    height, width = kernel.shape[2:]
    height = min(height, rank[0] * rank[1] * width)  # more would add nothing
    width = min(width, rank[0] * rank[1] * height)
    core, rows, columns, *places = factor(kernel, rank=(*rank, height, width))
    small = torch.einsum("abxy,hx,wy->abhw", core, *places)
    return Equation((("oa", "abhw", "bi"),), ("o", "i", "h", "w")), (rows, small, columns.mT)


def kernel_rank_for(shape: Sequence[int], *, budget: float) -> tuple[int, int]:
    """Largest ranks, in proportion to the channels, with at most ``budget`` times the numbers of the kernel."""
    n_out, n_in, *places = shape
    most = rank_tuples.affordable(budget, shape, kernel_n_params(shape, rank=(1, 1)))

    def at(size: int) -> tuple[int, int]:
        rank = (max(1, size * n_out // max(n_out, n_in)), max(1, size * n_in // max(n_out, n_in)))
        n_places = math.prod(places)
        return min(rank[0], rank[1] * n_places), min(rank[1], rank[0] * n_places)

    size = rank_tuples.largest(max(n_out, n_in), lambda size: kernel_n_params(shape, rank=at(size)) <= most)
    return at(size)


def kernel_n_params(shape: Sequence[int], *, rank: tuple[int, int]) -> int:
    """Count the numbers in the three convolutions."""
    return shape[0] * rank[0] + math.prod((*rank, *shape[2:])) + rank[1] * shape[1]
