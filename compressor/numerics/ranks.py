"""Check and choose the ranks of factorizations."""

import math
from collections.abc import Sequence

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
    if not budget > 0:
        raise ValueError(f"budget: must be > 0, got {budget}")
    rank = min(most, math.floor(budget * math.prod(shape) / n_params_per_rank))
    if rank < 1:
        least = n_params_per_rank / math.prod(shape)
        raise ValueError(
            f"budget: {budget:g} is below rank 1 of shape {tuple(shape)}, which takes {least:.3g}; raise it"
        )
    return rank
