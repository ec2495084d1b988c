"""Choose the largest entries, the first of those that are equal."""

import torch
from torch import Tensor

ROUNDING = 2 / 3  # power of the machine epsilon up to which sizes count as equal: 4e-11, in float32 2e-5


def largest(sizes: Tensor, n_kept: int, dim: int) -> Tensor:
    """Mark the ``n_kept`` largest sizes along an axis, all of them if there are fewer; of equal ones the first.

    Selecting twice therefore marks the same entries, which `topk` does not promise. Sizes that differ by rounding are
    equal: the choice among them, which decides the supports of a Hadamard matrix's factors, is then not left to noise.
    """
    n_all = sizes.shape[dim]
    if n_kept >= n_all or not sizes.numel():
        return sizes.new_ones(sizes.shape).bool()
    if n_kept == 0:
        return sizes.new_zeros(sizes.shape).bool()
    least = sizes.kthvalue(n_all - n_kept + 1, dim=dim, keepdim=True).values
    gap: Tensor = least * torch.finfo(sizes.dtype).eps ** ROUNDING
    above, below = sizes > least + gap, sizes < least - gap
    equal = ~(above | below)
    if bool(((~below).sum(dim) <= n_kept).all()):
        return ~below
    n_left = n_kept - above.sum(dim, keepdim=True)
    return above | (equal & (equal.cumsum(dim) <= n_left))


def magnitudes(matrix: Tensor) -> Tensor:
    """Return the magnitudes of a finite matrix, in float32 or better; ValueError for NaN or infinity."""
    sizes = matrix.detach().abs()
    sizes = sizes if sizes.dtype.itemsize > 2 else sizes.float()
    if matrix.ndim < 2:
        raise ValueError(f"matrix: needs 2 dimensions, got {tuple(matrix.shape)}")
    if not bool(sizes.isfinite().all()):
        raise ValueError("matrix: entries must be finite, found nan or inf")
    return sizes


def check_count(name: str, count: int) -> None:
    """Refuse a number of entries, blocks or ranks that is negative or no integer."""
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise ValueError(f"{name}: must be an integer >= 0, got {count!r}")
