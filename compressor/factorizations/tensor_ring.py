"""The tensor ring: a chain of cores whose last is linked to the first."""

import math
from collections.abc import Sequence
from string import ascii_lowercase, ascii_uppercase

import torch
from torch import Tensor

from compressor.factorizations import Equation, Factors
from compressor.numerics import rank_tuples, ranks
from compressor.numerics.metric import Metric
from compressor.numerics.refit import refit

USE = "storage"
TAKES = "tensor"
STILL = 1e-14  # iterations stop when no entry of a core moves by more than this share of the largest


def factor(tensor: Tensor, *, rank: tuple[int, ...], metric: Metric | None = None, n_iterations: int = 50) -> Factors:
    """Approximate a tensor by a ring of cores of order three.

    The start is that of successive truncated SVDs; alternating least squares lowers the error, which never rises. With
    a metric, the cores are refitted in its norm. A batch is not taken.

    Parameters
    ----------
    tensor : Tensor, shape sizes
        A tensor of at least two modes, one fewer than there are ranks; finite.
    rank : tuple of int
        Sizes of the links before, between and after the modes; the first and the last are the same link.
    metric : Metric, optional
        Norm of the error, whose columns are the last modes; Frobenius by default.
    n_iterations : int, >= 0
        Most sweeps over the cores.

    Returns
    -------
    tuple of Tensor, shapes (rank, size, next rank)
        One core for each mode.

    Raises
    ------
    ValueError
        If the ranks do not fit or the tensor is not finite.

    References
    ----------
    .. [1] Q. Zhao, G. Zhou, S. Xie, L. Zhang, A. Cichocki, "Tensor ring decomposition", 2016, arXiv:1606.05535;
       algorithms 1 and 2.

    Examples
    --------
    >>> cores = factor(torch.ones(2, 3, 4), rank=(1, 1, 1, 1))
    >>> [tuple(core.shape) for core in cores], bool(rebuild(cores).allclose(torch.ones(2, 3, 4)))
    ([(1, 2, 1), (1, 3, 1), (1, 4, 1)], True)
    """
    ranks.check_finite(tensor)
    _check(tensor.shape, rank)
    whole = tensor.double()
    cores = _start(whole, rank)
    for _ in range(n_iterations):
        before = list(cores)
        for mode in range(len(cores)):
            cores[mode] = _solved(whole, cores, mode)
        if all(
            bool((new - old).abs().max() <= STILL * old.abs().max()) for old, new in zip(before, cores, strict=True)
        ):
            break
    found = tuple(cores)
    if metric is not None:
        found = refit(found, equation(found), whole, metric)
    return tuple(core.to(tensor.dtype) for core in found)


def rebuild(factors: Factors) -> Tensor:
    """Multiply the cores around the ring."""
    return equation(factors).rebuild(factors)


def equation(factors: Factors) -> Equation:
    """Say that each core shares a link, whose letter is large, with the next, and the last with the first."""
    axes, links = ascii_lowercase[: len(factors)], ascii_uppercase[: len(factors)]
    return Equation((tuple(map("".join, zip(links, axes, links[1:] + links[0], strict=True))),), tuple(axes))


def rank_for(shape: Sequence[int], *, budget: float) -> tuple[int, ...]:
    """Choose ranks, as equal as can be, whose cores have at most ``budget`` times the numbers of the tensor."""
    most = rank_tuples.affordable(budget, shape, sum(shape))
    equal = (math.isqrt(most // sum(shape)),) * (len(shape) + 1)

    def counted(rank: tuple[int, ...]) -> int:
        return n_params(shape, rank=rank)

    def allowed(rank: tuple[int, ...]) -> bool:
        return _fits(shape, rank) and counted(rank) <= most

    return rank_tuples.filled(equal, allowed, counted, full=[most] * len(equal))


def n_params(shape: Sequence[int], *, rank: Sequence[int]) -> int:
    """Count the numbers in the cores."""
    return sum(before * size * after for before, size, after in zip(rank[:-1], shape, rank[1:], strict=True))


def _start(tensor: Tensor, rank: Sequence[int]) -> list[Tensor]:
    """Cores by successive SVDs; links that are wider than a matrix has singular values get random columns."""
    generator = torch.Generator().manual_seed(0)
    first, rest = _halves(tensor.reshape(len(tensor), -1), rank[0] * rank[1], generator)
    cores = [first.reshape(-1, rank[0], rank[1]).movedim(0, 1)]
    rest = rest.reshape(rank[0], -1).mT  # (rank[1] and the other modes, rank[0])
    for size, before, after in zip(tensor.shape[1:-1], rank[1:-2], rank[2:-1], strict=True):
        left, rest = _halves(rest.reshape(before * size, -1), after, generator)
        cores.append(left.reshape(before, size, after))
    return [*cores, rest.reshape(rank[-2], tensor.shape[-1], rank[-1])]


def _halves(matrix: Tensor, rank: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    left, right = left[:, :rank], (values.unsqueeze(1) * right)[:rank]
    more = torch.randn(len(left), rank - left.shape[1], generator=generator, dtype=torch.float64).to(left.device)
    return torch.cat([left, more], dim=1), torch.cat([right, right.new_zeros(more.shape[1], right.shape[1])])


def _solved(tensor: Tensor, cores: Sequence[Tensor], mode: int) -> Tensor:
    """Core that minimizes the error while the others are held; unchanged in directions that do not matter."""
    core, others = cores[mode], [*cores[mode + 1 :], *cores[:mode]]
    before, size, after = core.shape
    links = _chain(others).reshape(after, after, before, before).permute(2, 0, 3, 1)
    gram = links.reshape(before * after, before * after)
    (letters,) = equation(tuple(cores)).terms
    inputs = [ascii_lowercase[: len(cores)], *letters[mode + 1 :], *letters[:mode]]
    product = torch.einsum(f"{','.join(inputs)}->{letters[mode]}", tensor, *others)
    unfolded = core.movedim(1, 0).reshape(size, -1)
    gap = product.movedim(1, 0).reshape(size, -1) - unfolded @ gram
    solved: Tensor = unfolded + gap @ torch.linalg.pinv(gram, hermitian=True)
    return solved.reshape(size, before, after).movedim(0, 1)


def _chain(cores: Sequence[Tensor]) -> Tensor:
    """Multiply the cores with themselves over all modes: pairs of first links by pairs of last links."""
    squared = [torch.einsum("anb,cnd->acbd", core, core).flatten(2).flatten(0, 1) for core in cores]
    return squared[0] if len(squared) == 1 else torch.linalg.multi_dot(squared)


def _fits(shape: Sequence[int], rank: Sequence[int]) -> bool:
    if len(shape) < 2 or len(rank) != len(shape) + 1 or rank[0] != rank[-1] or min(rank) < 1:
        return False
    neighbours = zip(rank[:-1], shape, rank[1:], strict=True)
    return all(after <= before * size and before <= size * after for before, size, after in neighbours)


def _check(shape: Sequence[int], rank: Sequence[int]) -> None:
    if not _fits(shape, rank):
        raise ValueError(
            f"rank: must be {len(shape) + 1} ranks, the first as the last, none above the size times the rank next to "
            f"it on either side, for sizes {tuple(shape)}; got {tuple(rank)}"
        )
