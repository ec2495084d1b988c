"""Matrices of one Frobenius norm."""

import math

import torch
from torch import Tensor

from compressor.numerics.selection import magnitudes

EXACT = True
CONE = False
SCALABLE = False


def project(matrix: Tensor, size: float) -> Tensor:
    """Scale a matrix to a Frobenius norm.

    The nearest point of the sphere is unique, except for the zero matrix, which becomes one of equal entries.

    Other parameters, result and errors: `compressor.constraints.ConstraintSet.project`.

    Parameters
    ----------
    size : float, > 0
        The norm; finite.

    References
    ----------
    .. [1] L. Le Magoarou, R. Gribonval, "Flexible multilayer sparse approximations of matrices and applications", IEEE
       JSTSP 10(4), 2016, arXiv:1506.07300.

    Examples
    --------
    >>> project(torch.tensor([[3.0, 0.0], [-4.0, 0.0]]), 1.0)
    tensor([[ 0.6000,  0.0000],
            [-0.8000,  0.0000]])
    """
    if not 0 < size < math.inf:
        raise ValueError(f"size: must be finite and > 0, got {size!r}")
    sizes = magnitudes(matrix)
    if not sizes.numel():
        return matrix.clone()
    peak = sizes.amax((-2, -1), keepdim=True)  # squares of the entries themselves may underflow
    dtype = torch.promote_types(matrix.dtype, torch.float32)
    scaled = torch.where(peak > 0, matrix.to(dtype) / peak.where(peak > 0, 1.0), 1.0)
    norm: Tensor = torch.linalg.vector_norm(scaled, dim=(-2, -1), keepdim=True)
    unit: Tensor = scaled * (size / norm)
    return unit.to(matrix.dtype)
