"""Monarch matrices, block low rank: every block of a grid by a product of two, in closed form."""

from collections.abc import Iterator, Sequence
from math import prod

import torch
from torch import Tensor

from compressor.factorizations import Equation, Factors
from compressor.numerics import ranks
from compressor.numerics.low_rank import balanced
from compressor.numerics.metric import PLAIN, Metric, second_moment
from compressor.numerics.refit import refit

USE = "speed"
TAKES = "matrix"


def factor(weight: Tensor, *, rank: int, blocks: Sequence[int], metric: Metric | None = None) -> Factors:
    """Approximate every block of a matrix by the nearest of a rank.

    In the arrangement of a Monarch matrix the two factors are block diagonal, with a fixed permutation between them.

    Closed form in the norm of a metric that scales rows and columns, or with one block of columns. A second moment
    mixes the columns of several blocks: the factors are then refitted, by alternating least squares, from the best
    for each block by itself.

    Parameters
    ----------
    weight : Tensor, shape (*batch, n_rows, n_columns)
        The matrix; finite.
    rank : int, 1 to the smaller side of a block
        Rank of each block.
    blocks : two ints
        Number of blocks of the rows (outputs) and of the columns (inputs); they divide the sizes.
    metric : Metric, optional
        Norm of the error; Frobenius by default.

    Returns
    -------
    tuple of Tensor
        Shapes (*batch, b_out, b_in, n_rows / b_out, rank) and (*batch, b_in, b_out, rank, n_columns / b_in) for
        ``blocks`` (b_out, b_in). Each has the root of the singular values.

    Raises
    ------
    ValueError
        If the rank or the blocks do not fit, or the weight is not finite.

    References
    ----------
    .. [1] T. Dao et al., "Monarch: expressive structured matrices for efficient and accurate training", 2022,
       arXiv:2204.00595.

    Examples
    --------
    >>> weight = torch.tensor([[1.0, 1.0, 2.0, 2.0], [1.0, 1.0, 2.0, 2.0]])
    >>> left, right = factor(weight, rank=1, blocks=(1, 2))
    >>> rebuild((left, right)).round().tolist()
    [[1.0, 1.0, 2.0, 2.0], [1.0, 1.0, 2.0, 2.0]]
    """
    ranks.check_finite(weight)
    n_rows, n_columns = _block(weight.shape, blocks)
    ranks.check_rank(rank, min(n_rows, n_columns), weight.shape)
    metric = metric or PLAIN
    scaled = Metric(left=metric.left).whiten(weight).unflatten(-2, (-1, n_rows))
    parts = zip(scaled.split(n_columns, dim=-1), _of_blocks(metric, weight.shape[-1], n_columns), strict=True)
    pairs = [balanced(part, rank, own) for part, own in parts]
    left = torch.stack([left for left, _ in pairs], dim=-3)
    factors: Factors = (_unscaled(left, metric.left), torch.stack([right for _, right in pairs], dim=-4))
    if len(pairs) > 1 and metric.right is not None and metric.right.ndim == 2:
        factors = refit(factors, equation(factors), weight, metric)
    return tuple(each.to(weight.dtype) for each in factors)


def rebuild(factors: Factors) -> Tensor:
    """Multiply the factors of each block, and join the blocks."""
    return equation(factors).rebuild(factors)


def equation(factors: Factors) -> Equation:
    """Say that block (p, q) of the matrix is the product of two."""
    return Equation((("pqir", "qprj"),), ("pi", "qj"))


def form_for(shape: Sequence[int]) -> dict[str, tuple[int, int]]:
    """Divide both sides into four blocks, or into fewer where four do not divide them."""
    n_rows, n_columns = (next(n for n in (4, 3, 2, 1) if size % n == 0) for size in shape[-2:])
    return {"blocks": (n_rows, n_columns)}


def rank_for(shape: Sequence[int], *, budget: float, blocks: Sequence[int]) -> int:
    """Largest rank of the blocks whose factors have at most ``budget`` times the numbers of the matrix."""
    n_rows, n_columns = _block(shape, blocks)
    return ranks.within(budget, shape, n_params(shape, rank=1, blocks=blocks), min(n_rows, n_columns))


def n_params(shape: Sequence[int], *, rank: int, blocks: Sequence[int]) -> int:
    """Count the numbers in both factors."""
    return rank * prod(blocks) * sum(_block(shape, blocks))


def _block(shape: Sequence[int], blocks: Sequence[int]) -> tuple[int, int]:
    """Shape of a block."""
    (n_rows, n_columns), grid = shape[-2:], tuple(blocks)
    if len(grid) != 2 or min(grid) < 1 or n_rows % grid[0] or n_columns % grid[1]:
        raise ValueError(f"blocks: must be two divisors of the matrix's {n_rows}, {n_columns}, got {grid}")
    return n_rows // grid[0], n_columns // grid[1]


def _of_blocks(metric: Metric, n_columns: int, size: int) -> Iterator[Metric]:
    """Yield, for each block of columns, the norm of an error that lies in it alone."""
    for start in range(0, n_columns, size):
        own = slice(start, start + size)
        if metric.right is None or metric.inverse is None:
            yield PLAIN
        elif metric.right.ndim == 1:
            yield Metric(right=metric.right[own], inverse=metric.inverse[own])
        else:
            yield second_moment(metric.right[own] @ metric.right[own].T)


def _unscaled(left: Tensor, rows: Tensor | None) -> Tensor:
    return left if rows is None else left / rows.reshape(left.shape[-4], 1, left.shape[-2], 1)
