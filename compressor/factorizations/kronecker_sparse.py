"""Products of Kronecker-sparse factors, butterflies among them: with an error guarantee, in closed form."""

import string
from collections.abc import Sequence
from math import prod
from typing import Literal

import torch
from torch import Tensor

from compressor.factorizations import Equation, Factors
from compressor.numerics import chains, ranks
from compressor.numerics.chains import Chain, Pattern
from compressor.numerics.divisors import deformable_pattern
from compressor.numerics.metric import PLAIN, Metric
from compressor.numerics.refit import refit

USE = "storage"
TAKES = "matrix"
N_FACTORS = 3  # by default
NEGLIGIBLE = 1e-13  # of the largest singular value of a block: no direction that was computed

Order = Literal["balanced", "hierarchical"]
Named = Pattern | Literal["butterfly"]


def factor(
    weight: Tensor, *, pattern: Named, rank: int = 1, order: Order = "balanced", metric: Metric | None = None
) -> Factors:
    """Approximate a matrix by a product of factors with a fixed pattern of zeros.

    A factor of pattern (a, b, c, d) is zero outside the support of the Kronecker product of the identity of size a, a
    matrix of ones of shape (b, c) and the identity of size d. The product of such factors splits into two; blocks of
    the matrix are then of low rank, and their singular vectors are the entries of both parts, which split again.

    Parameters
    ----------
    weight : Tensor, shape (*batch, n_rows, n_columns)
        The matrix, real or complex; finite.
    pattern : sequence of (a, b, c, d)
        One entry for each factor, from the left. Neighbours must be chainable: a of the first divides a of the next, d
        of the next divides d of the first, and a c / a' = b' d' / d, the inner rank, is a whole number. The pattern of
        `butterfly_pattern` is one. The word "butterfly" stands for one like it for any shape, with as many factors as
        the prime factors of its smaller side, or of the side that has fewer.
    rank : int, >= 1
        Factor by which the inner ranks of the pattern are multiplied, each up to the rank that its blocks can have.
    order : "balanced" or "hierarchical"
        Where the product is split: in the middle, or after its first factor, again and again.
    metric : Metric, optional
        Norm of the error; Frobenius by default.

    Returns
    -------
    tuple of Tensor, shapes (*batch, a, d, b, c)
        For each factor its dense blocks: entry (i, j, k, l) is that of row (i, k, j) and column (i, l, j).

    Raises
    ------
    ValueError
        If the pattern is not chainable or does not fit the matrix, the rank is too large, the weight is not finite, or
        a metric is given for a complex weight.

    Notes
    -----
    The error is at most sqrt(L - 1) times that of the best product of L factors, and 0 if the matrix is one. This holds
    in the Frobenius norm and in that of a metric that scales rows and columns; for a second moment the factors are
    refitted from the plain ones, by alternating least squares. Time O(n_rows n_columns) for inner rank one.

    References
    ----------
    .. [1] Q.-T. Le, L. Zheng, E. Riccietti, R. Gribonval, "Butterfly factorization with error guarantees", 2024,
       arXiv:2411.04506.
    .. [2] L. Zheng, E. Riccietti, R. Gribonval, "Efficient identification of butterfly sparse matrix factorizations",
       2023, arXiv:2110.01230.

    Examples
    --------
    >>> hadamard = torch.tensor([[1.0, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]])
    >>> factors = factor(hadamard, pattern=butterfly_pattern(4))
    >>> [tuple(each.shape) for each in factors], rebuild(factors).round().tolist() == hadamard.tolist()
    ([(1, 2, 2, 2), (2, 1, 2, 2)], True)
    """
    ranks.check_finite(weight)
    metric = metric or PLAIN
    if weight.is_complex() and metric is not PLAIN:
        raise ValueError("metric: is for real weights, got complex ones; leave it out")
    chain = _fitting(pattern, weight.shape)
    ranks.check_rank(rank, chain.most(), weight.shape)
    chain = chain.times(rank)
    mixes = metric.right is not None and metric.right.ndim == 2
    scales = PLAIN if mixes else metric
    target = weight.to(torch.complex128) if weight.is_complex() else scales.whiten(weight)
    factors = _unscaled(_factors(chain.blocks(target), chain, order), scales)
    if mixes:
        refitted = refit(expand(factors), equation(factors), weight, metric)
        factors = tuple(new.reshape(old.shape) for new, old in zip(refitted, factors, strict=True))
    return tuple(each.to(weight.dtype) for each in factors)


def rebuild(factors: Factors) -> Tensor:
    """Multiply the factors."""
    chain = chains.of_factors(factors)
    return chain.matrix(chains.product(factors, chain))


def expand(factors: Factors) -> Factors:
    """Divide the axes of the factors, so that neighbours share whole axes; views, without axes of size 1."""
    chain = chains.of_factors(factors)
    sizes = [[size for _, size in letters if size > 1] for letters in chain.letters()]
    return tuple(each.reshape(*each.shape[:-4], *own) for each, own in zip(factors, sizes, strict=True))


def equation(factors: Factors) -> Equation:
    """Say how the factors that `expand` gives are multiplied: a letter for each divisor of rows and columns."""
    chain = chains.of_factors(factors)
    names = dict.fromkeys(name for letters in chain.letters() for name, size in letters if size > 1)
    shared = [name for name in ("a", "d") if name in names]  # of rows and columns; their capitals stay free
    free = [letter for letter in string.ascii_letters if letter.lower() not in shared]
    named = dict(zip([*shared, *(name for name in names if name not in shared)], [*shared, *free], strict=False))
    if len(named) < len(names):
        raise ValueError(f"pattern: needs {len(names)} letters in its equation, more than there are; merge factors")
    sides = (["a", *(f"{side} {i}" for i in range(chain.n_factors)), "d"] for side in ("row", "column"))
    terms = tuple("".join(named[name] for name, size in letters if size > 1) for letters in chain.letters())
    axes = tuple("".join(named[name] for name in side if name in named) for side in sides)
    return Equation((terms,), axes)


def form_for(shape: Sequence[int]) -> dict[str, list[tuple[int, int, int, int]]]:
    """Give a pattern of three factors, as a butterfly's but with larger blocks, for a matrix of any shape."""
    return {"pattern": deformable_pattern(shape, N_FACTORS)}


def rank_for(shape: Sequence[int], *, budget: float, pattern: Named) -> int:
    """Largest rank whose factors have at most ``budget`` times the numbers of the matrix."""
    most = _fitting(pattern, shape).most()
    return ranks.largest(budget, shape, lambda rank: n_params(shape, rank=rank, pattern=pattern), most)


def n_params(shape: Sequence[int], *, pattern: Named, rank: int = 1) -> int:
    """Count the numbers in the blocks of all factors."""
    chain = _fitting(pattern, shape).times(rank)
    return sum(prod(size for _, size in letters) for letters in chain.letters())


def butterfly_pattern(n: int) -> list[tuple[int, int, int, int]]:
    """Give the pattern of the square butterfly matrices of size ``n``, a power of two: 2 n log2(n) numbers.

    Examples
    --------
    >>> butterfly_pattern(8)
    [(1, 2, 2, 4), (2, 2, 2, 2), (4, 2, 2, 1)]
    """
    if n < 2 or n & (n - 1):
        raise ValueError(f"n: must be a power of two, at least 2, got {n}")
    return [(2**level, 2, 2, n // 2 ** (level + 1)) for level in range(n.bit_length() - 1)]


def _fitting(pattern: Named, shape: Sequence[int]) -> Chain:
    """Read a pattern for matrices of a shape; inner ranks beyond those of its blocks are lowered."""
    if isinstance(pattern, str):
        if pattern != "butterfly":
            raise ValueError(f"pattern: must be 'butterfly' or four numbers for each factor, got {pattern!r}")
        pattern = deformable_pattern(shape)
    chain = chains.chain_of(pattern)
    size = chain.a * chain.d
    product = (size * prod(chain.rows), size * prod(chain.columns))
    if product != tuple(shape[-2:]):
        raise ValueError(f"pattern: is of a matrix of shape {product}, got {tuple(shape[-2:])}")
    return chain.times(1)


def _factors(target: Tensor, chain: Chain, order: Order) -> Factors:
    """Factorize a product, given by its blocks: the left part, and what remains to its right."""
    if chain.n_factors == 1:
        return (target,)
    at = chain.n_factors // 2 if order == "balanced" else 1
    left_chain, right_chain = chain.split(at)
    blocks, rank = chains.divided(target, chain, at), chain.inner[at - 1]
    vectors, values, _ = torch.linalg.svd(blocks, full_matrices=False)
    lefts: Factors
    if at == 1:
        lefts, basis = (chains.as_left(vectors[..., :rank]),), vectors[..., :rank]
    else:
        lefts = _factors(chains.as_left(vectors[..., :rank] * values[..., None, :rank]), left_chain, order)
        lefts, basis = _orthonormal(lefts, left_chain, chain, at)
    return (*lefts, *_factors(chains.as_right(basis.mH @ blocks), right_chain, order))


def _orthonormal(factors: Factors, own: Chain, chain: Chain, at: int) -> tuple[Factors, Tensor]:
    """Multiply the last factor of a left part so that the columns of each block of the product are orthonormal."""
    blocks = chains.from_left(chains.product(factors, own), chain, at)
    _, values, right = torch.linalg.svd(blocks, full_matrices=False)
    is_live = values > NEGLIGIBLE * values.amax(dim=(-5, -4, -3, -2, -1), keepdim=True)
    change = right.mH * torch.where(is_live, 1 / values.masked_fill(~is_live, 1.0), 0.0).unsqueeze(-2)
    a, d, b, c = factors[-1].shape[-4:]
    batch, rank, column = factors[-1].shape[:-4], chain.inner[at - 1], chain.columns[at - 1]
    last = factors[-1].reshape(*batch, chain.a, a // chain.a, d // chain.d, chain.d, b, column, c // column)
    spread = change.reshape(*batch, chain.a, chain.d, d // chain.d, a // chain.a, column, rank, rank)
    changed = torch.einsum("...akrdbsq,...adrksqp->...akrdbsp", last, spread).reshape(*batch, a, d, b, c)
    return (*factors[:-1], changed), blocks @ change


def _unscaled(factors: Factors, metric: Metric) -> Factors:
    """Divide the rows of the first factor and the columns of the last by the scales of a metric."""
    scaled = list(factors)
    if metric.left is not None:
        a, d, b, _ = scaled[0].shape[-4:]
        scaled[0] = scaled[0] / metric.left.reshape(a, b, d, 1).transpose(1, 2)
    if metric.inverse is not None:
        a, d, _, c = scaled[-1].shape[-4:]
        scaled[-1] = scaled[-1] * metric.inverse.reshape(a, c, d, 1).permute(0, 2, 3, 1)
    return tuple(scaled)
