"""Hierarchical PALM4MSA: sparse factors are split off a matrix one after another."""

import operator
from collections.abc import Sequence
from itertools import accumulate
from math import prod
from typing import Literal, TypeVar

from torch import Tensor

from compressor.constraints import Constraint
from compressor.transforms.palm4msa import palm4msa
from compressor.transforms.product import SparseProduct

Residuals = Literal["left", "falling", "free"]
One = TypeVar("One")
FIRST_SHARE, DECAY = 0.25, 5  # chosen on an encoder's FFN: equal shares and larger second ones are worse
SMALLEST = 2  # entries for each row of a square factor: with fewer than one, rows of the product would be lost
ROUNDING = 1e-6  # of a share times a number of entries


def hierarchical(
    matrix: Tensor,
    *,
    n_factors: int,
    n_nonzeros: int,
    constraint: str = "sp",
    share: float | Sequence[float] | None = None,
    residuals: Residuals | None = None,
    n_sweeps: int = 65,
) -> SparseProduct:
    """Approximate a matrix by a product of sparse factors, found one by one.

    The matrix is split into a residual and a sparse square factor, the residual is split again, and so on; after each
    split all factors found so far are improved together, by PALM4MSA.

    Parameters
    ----------
    matrix : Tensor, shape (*batch, n_rows, n_columns)
        The matrices; real or complex, finite.
    n_factors : int, >= 2
        Number of factors. One has the shape of the matrix, the first where it is tall or square, else the last; the
        others are square with its smaller side.
    n_nonzeros : int
        Number of nonzero entries in all factors of one matrix.
    constraint : str
        Set of the factors. ``sp`` keeps at most ``n_nonzeros`` in all; ``spcol``, ``splin`` and ``skperm`` also share
        them equally among columns, rows or both; ``splincol``, a union, may keep up to twice as many. It finds the
        factors of a Hadamard matrix.
    share : float or sequence of n_factors - 1 floats, optional
        Fraction of the entries that each factor gets which is split off, or each of them in this order; the last
        residual gets the rest. By default a quarter, a twentieth, a hundredth and so on for ``sp``, but two entries for
        each row of a square factor, and equal shares for the other sets.
    residuals : "left", "falling" or "free", optional
        Nonzero entries of the residuals before the last: what the factors split off so far leave of ``n_nonzeros``; a
        number that falls at a constant rate from that of the matrix to that of the last residual; or any number. By
        default "left" for ``sp``, which suits matrices without an exact product, else "falling", which finds fast
        transforms; "free" finds some with ``skperm``.
    n_sweeps : int, >= 1
        Largest number of turns of every factor in each run of PALM4MSA.

    Returns
    -------
    SparseProduct
        Factors in the dtype and on the device of ``matrix``; a local optimum.

    Raises
    ------
    ValueError
        If the matrix is not finite, a number is out of range, or the set has no such sizes.

    Notes
    -----
    2 n_factors - 3 runs of PALM4MSA.

    References
    ----------
    .. [1] L. Le Magoarou, R. Gribonval, "Flexible multilayer sparse approximations of matrices and applications", IEEE
       JSTSP 10(4), 2016, arXiv:1506.07300.

    Examples
    --------
    >>> import torch
    >>> from scipy.linalg import hadamard
    >>> matrix = torch.from_numpy(hadamard(8)).double()
    >>> product = hierarchical(matrix, n_factors=3, n_nonzeros=48, constraint="splincol")
    >>> product.n_nonzeros, product.residual < 1e-12
    (48, True)
    """
    _check(matrix, n_factors, n_nonzeros)
    sides, side = (matrix.shape[-2], matrix.shape[-1]), min(matrix.shape[-2:])
    shares = _shares(share, constraint, n_factors, SMALLEST * side / n_nonzeros)
    sizes = [min(max(1, int(part * n_nonzeros + ROUNDING)), side**2) for part in shares]
    own = [_constraint(constraint, (side, side), n) for n in sizes]
    left = [min(n, prod(sides)) for n in accumulate(sizes, operator.sub, initial=n_nonzeros)][1:]
    kind = residuals or ("left" if constraint == "sp" else "falling")
    if kind == "falling":
        left = [round(prod(sides) * (left[-1] / prod(sides)) ** (split / len(left))) for split in range(1, n_factors)]
    sets = [_constraint(constraint, sides, n) for n in left]
    if kind == "free":
        sets[:-1] = [Constraint("sp", sides, prod(sides))] * (n_factors - 2)
    return split_off(matrix, own, sets, n_sweeps)


def split_off(
    matrix: Tensor, constraints: Sequence[Constraint], residuals: Sequence[Constraint], n_sweeps: int = 100
) -> SparseProduct:
    """Split factors in given sets off a matrix one by one, each with the set of the residual that it leaves.

    Parameters
    ----------
    matrix : Tensor, shape (*batch, n_rows, n_columns)
        The matrices. From one with fewer rows than columns factors are split off on the left, else on the right.
    constraints : sequence of Constraint
        Sets of the factors in the order in which they are split off.
    residuals : sequence of Constraint
        Sets of the residuals; the last residual becomes a factor.
    n_sweeps : int, >= 1
        Largest number of turns of every factor in each run of PALM4MSA.

    Returns
    -------
    SparseProduct
        One factor more than there are sets; otherwise as for `hierarchical`.
    """
    if not constraints or len(constraints) != len(residuals):
        numbers = f"{len(constraints)}, {len(residuals)}"
        raise ValueError(f"constraints, residuals: must be as many, and at least one, got {numbers}")
    is_wide = matrix.shape[-2] < matrix.shape[-1]
    own, residual = constraints[0], residuals[0]
    sets = [own]
    product = palm4msa(matrix, _joined(is_wide, residual, sets), n_sweeps=n_sweeps, right_to_left=is_wide)
    for own, residual in zip(constraints[1:], residuals[1:], strict=True):
        rest, found = _taken(is_wide, product.factors)
        split = palm4msa(rest, _joined(is_wide, residual, [own]), n_sweeps=n_sweeps, right_to_left=is_wide)
        rest, (factor,) = _taken(is_wide, split.factors)
        sets = _joined(is_wide, own, sets)
        start = _joined(is_wide, rest, _joined(is_wide, factor, found))
        together = _joined(is_wide, residual, sets)
        product = palm4msa(matrix, together, start=start, n_sweeps=n_sweeps, right_to_left=is_wide)
    return product


def _joined(at_end: bool, one: One, others: Sequence[One]) -> list[One]:
    """Put the residual, or what belongs to it, beside the others."""
    return [*others, one] if at_end else [one, *others]


def _taken(at_end: bool, factors: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
    """Tell the residual from the other factors."""
    return (factors[-1], factors[:-1]) if at_end else (factors[0], factors[1:])


def _check(matrix: Tensor, n_factors: int, n_nonzeros: int) -> None:
    if matrix.ndim < 2 or not matrix.numel():
        raise ValueError(f"matrix: needs two dimensions and entries, got shape {tuple(matrix.shape)}")
    if n_factors < 2 or n_nonzeros < n_factors:
        raise ValueError(f"n_factors, n_nonzeros: must be >= 2 and >= n_factors, got {n_factors}, {n_nonzeros}")


def _shares(share: float | Sequence[float] | None, constraint: str, n_factors: int, least: float) -> list[float]:
    """Give the fraction of the entries of each factor that is split off, by default ``least`` or more."""
    if share is None and constraint == "sp":
        falling = [max(FIRST_SHARE / DECAY**split, least) for split in range(n_factors - 1)]
        return falling if sum(falling) < 1 else [1 / n_factors] * (n_factors - 1)
    equal = 1 / n_factors if share is None else share
    shares = [equal] * (n_factors - 1) if isinstance(equal, float | int) else list(equal)
    if len(shares) != n_factors - 1 or not (min(shares) > 0 and sum(shares) < 1):
        raise ValueError(f"share: must be > 0 for each factor but one, together < 1, got {share!r}")
    return shares


def _constraint(name: str, shape: tuple[int, int], n_nonzeros: int) -> Constraint:
    """Spread a number of nonzero entries over rows or columns, where the set asks for it."""
    lines = {"sp": 1, "splin": shape[0], "spcol": shape[1], "splincol": max(shape), "skperm": max(shape)}
    if name not in lines:
        raise ValueError(f"constraint: must be one of {', '.join(lines)}, got {name!r}")
    if n_nonzeros < lines[name]:
        raise ValueError(
            f"n_nonzeros: {n_nonzeros} a factor of shape {shape} is below one a line of {name!r}; ask more"
        )
    return Constraint(name, shape, n_nonzeros // lines[name])
