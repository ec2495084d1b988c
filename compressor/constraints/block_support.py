"""Matrices with few nonzero blocks."""

import torch
from torch import Tensor

from compressor.numerics.selection import check_count, largest, magnitudes

EXACT = True
CONE = True
SCALABLE = True


def project(matrix: Tensor, size: tuple[int, int, int]) -> Tensor:
    """Keep the blocks of the largest Frobenius norms.

    The matrix is divided into a grid of equal blocks; all other blocks become zero. Of equal blocks the first are kept.

    Other parameters, result and errors: `compressor.constraints.ConstraintSet.project`.

    Parameters
    ----------
    size : three ints
        Rows and columns of a block, which divide those of the matrix, and the largest number of nonzero blocks.

    Examples
    --------
    >>> project(torch.tensor([[1.0, 1.0, 0.0, 2.0]]), (1, 2, 1))
    tensor([[0., 0., 0., 2.]])
    """
    n_rows, n_columns, n_blocks = size
    check_count("size", n_blocks)
    sizes = magnitudes(matrix)
    if min(n_rows, n_columns) < 1 or matrix.shape[-2] % n_rows or matrix.shape[-1] % n_columns:
        raise ValueError(f"size: blocks must divide the matrix's {tuple(matrix.shape[-2:])}, got {(n_rows, n_columns)}")
    if not sizes.numel():
        return matrix.clone()
    grid = sizes.unflatten(-1, (-1, n_columns)).unflatten(-3, (-1, n_rows))
    norms = torch.linalg.vector_norm(grid, dim=(-3, -1))
    kept = largest(norms.flatten(-2), n_blocks, -1).view_as(norms)
    mask = kept.repeat_interleave(n_rows, -2).repeat_interleave(n_columns, -1)
    return matrix.masked_fill(~mask, 0)
