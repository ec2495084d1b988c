"""The block-term decomposition: a sum of Tucker decompositions of equal ranks."""

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
ENOUGH = 1e-7  # a run ends when a sweep lowers the squared error by no more than this share

Term = tuple[Tensor, list[Tensor]]  # core and factors


def factor(
    tensor: Tensor,
    *,
    rank: tuple[int, ...],
    terms: int = 2,
    metric: Metric | None = None,
    n_iterations: int = 50,
    n_starts: int = 4,
) -> Factors:
    """Approximate a tensor by a sum of ``terms`` Tucker decompositions of the same ranks.

    One term after the other is fitted to what the rest leaves, by a sweep of higher-order orthogonal iteration; the
    error never rises. The first run starts from the singular vectors of what the terms before leave, the others from
    random ones; the best of them is kept. With a metric, all factors are refitted in its norm. A batch is not taken.

    Parameters
    ----------
    tensor : Tensor, shape sizes
        A tensor of as many modes as there are ranks; finite.
    rank : tuple of int, one for each mode
        Sizes of each core: from 1 to the size of the mode, and at most the product of the other ranks.
    terms : int, >= 1
        Number of Tucker decompositions.
    metric : Metric, optional
        Norm of the error, whose columns are the last modes; Frobenius by default.
    n_iterations : int, >= 0
        Most sweeps over the terms in each run.
    n_starts : int, >= 1
        Number of runs; the seeds are fixed.

    Returns
    -------
    tuple of Tensor
        For each term its core of shape rank, then one factor of shape (size, rank) for each mode.

    Raises
    ------
    ValueError
        If the ranks do not fit or the tensor is not finite.

    References
    ----------
    .. [1] L. De Lathauwer, "Decompositions of a higher-order tensor in block terms - part II: definitions and
       uniqueness", 2008, DOI 10.1137/070690729.
    .. [2] L. De Lathauwer, D. Nion, "Decompositions of a higher-order tensor in block terms - part III: alternating
       least squares algorithms", 2008, DOI 10.1137/070690730.

    Examples
    --------
    >>> factors = factor(torch.eye(4).reshape(4, 2, 2), rank=(2, 2, 1), terms=2)
    >>> len(factors), bool(rebuild(factors).allclose(torch.eye(4).reshape(4, 2, 2), atol=1e-6))
    (8, True)
    """
    ranks.check_finite(tensor)
    modes.check(tensor.shape, rank)
    whole = tensor.double()
    runs = [_run(whole, _start(whole, rank, terms, seed), n_iterations) for seed in range(n_starts)]
    best = min(runs, key=lambda run: float((whole - _sum(run)).norm()))
    found: Factors = tuple(each for core, factors in best for each in (core, *factors))
    if metric is not None:
        found = refit(found, equation(found), whole, metric)
    return tuple(each.to(tensor.dtype) for each in found)


def rebuild(factors: Factors) -> Tensor:
    """Sum the terms."""
    return equation(factors).rebuild(factors)


def equation(factors: Factors) -> Equation:
    """Say that each term has a core, whose letters are large, and one factor for each mode."""
    order = factors[0].ndim
    inner, axes = ascii_uppercase[:order], ascii_lowercase[:order]
    term = (inner, *map("".join, zip(axes, inner, strict=True)))
    return Equation((term,) * (len(factors) // (order + 1)), tuple(axes))


def rank_for(shape: Sequence[int], *, budget: float, terms: int = 2) -> tuple[int, ...]:
    """Choose ranks, equal but for smaller modes, whose factors have at most ``budget`` times the tensor's numbers."""

    def counted(rank: tuple[int, ...]) -> int:
        return n_params(shape, rank=rank, terms=terms)

    most = rank_tuples.affordable(budget, shape, counted((1,) * len(shape)))
    return modes.equal_ranks(shape, counted, most)


def n_params(shape: Sequence[int], *, rank: tuple[int, ...], terms: int = 2) -> int:
    """Count the numbers in the cores and the factors."""
    return terms * (math.prod(rank) + sum(size * each for size, each in zip(shape, rank, strict=True)))


def _start(tensor: Tensor, rank: Sequence[int], terms: int, seed: int) -> list[Term]:
    """Terms one after the other, each fitted to what those before leave: by singular vectors, or random if seeded."""
    generator = torch.Generator().manual_seed(seed)
    gap, found = tensor, list[Term]()
    for _ in range(terms):
        factors = modes.bases(gap, rank)
        if seed:
            drawn = [torch.randn(factor.shape, generator=generator, dtype=factor.dtype) for factor in factors]
            factors = [torch.linalg.qr(each.to(tensor.device)).Q for each in drawn]
        found.append((modes.core(gap, factors), factors))
        gap = gap - modes.expand(*found[-1])
    return found


def _run(tensor: Tensor, terms: list[Term], n_iterations: int) -> list[Term]:
    gap = tensor - _sum(terms)
    for _ in range(n_iterations):
        before = gap.norm()
        for i, (core, factors) in enumerate(terms):
            own = gap + modes.expand(core, factors)
            factors = modes.refine(own, factors, 1)
            terms[i] = modes.core(own, factors), factors
            gap = own - modes.expand(*terms[i])
        if bool(gap.norm() ** 2 >= before**2 * (1 - ENOUGH)):
            break
    return terms


def _sum(terms: Sequence[Term]) -> Tensor:
    return torch.stack([modes.expand(core, factors) for core, factors in terms]).sum(dim=0)
