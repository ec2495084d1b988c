"""Matrices of low rank."""

import torch
from torch import Tensor

from compressor.numerics.selection import check_count, magnitudes

EXACT = True
CONE = True
SCALABLE = True


def project(matrix: Tensor, size: int) -> Tensor:
    """Compute the nearest matrix of a rank.

    The truncated singular value decomposition (Eckart, Young and Mirsky), computed in float64.

    Other parameters, result and errors: `compressor.constraints.ConstraintSet.project`.

    Parameters
    ----------
    size : int, >= 0
        Largest rank.

    Examples
    --------
    >>> project(torch.tensor([[3.0, 0.0], [0.0, 1.0]]), 1)
    tensor([[3., 0.],
            [0., 0.]])
    """
    check_count("size", size)
    magnitudes(matrix)
    exact = matrix.to(torch.complex128 if matrix.is_complex() else torch.float64)
    left, values, right = torch.linalg.svd(exact, full_matrices=False)
    nearest: Tensor = (left[..., :size] * values[..., None, :size]) @ right[..., :size, :]
    return nearest.to(matrix.dtype)
