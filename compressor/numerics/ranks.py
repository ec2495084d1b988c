"""Check and choose the ranks of factorizations."""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence

from torch import Tensor


def check_rank(rank: int, most: int, shape: Sequence[int]) -> None:
    """Refuse a rank that factors of a tensor of this shape cannot have."""
    if not 1 <= rank <= most:
        raise ValueError(f"rank: must be 1 to {most} for shape {tuple(shape)}, got {rank}")


def check_finite(tensor: Tensor) -> None:
    """Refuse NaN and infinity in what is factorized."""
    if not bool(tensor.isfinite().all()):
        raise ValueError("tensor: entries must be finite, found nan or inf")


def within(budget: float, shape: Sequence[int], n_params_per_rank: int, most: int) -> int:
    """Largest rank up to ``most`` whose parameters are at most a fraction of the tensor's; ValueError if none is."""
    return largest(budget, shape, lambda rank: rank * n_params_per_rank, most)


def largest(budget: float, shape: Sequence[int], n_params: Callable[[int], int], most: int) -> int:
    """Do as `within` for a number of parameters that rises with the rank in any way."""
    check_budget(budget)
    rank = bisect_right(range(1, most + 1), math.floor(budget * math.prod(shape)), key=n_params)
    if rank < 1:
        raise below(budget, shape, n_params(1))
    return rank


def check_budget(budget: float) -> None:
    """Refuse a budget that is not a positive number."""
    if not budget > 0:
        raise ValueError(f"budget: must be > 0, got {budget}")


def below(budget: float, shape: Sequence[int], n_params: int) -> ValueError:
    """Make the error of a budget that the smallest factors, of so many parameters, do not meet."""
    least = n_params / math.prod(shape)
    return ValueError(f"budget: {budget:g} is below rank 1 of shape {tuple(shape)}, which takes {least:.3g}; raise it")
