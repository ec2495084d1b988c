"""Matrices whose nonzero entries lie in a fixed support."""

import torch
from torch import Tensor

from compressor.numerics.selection import magnitudes

EXACT = True
CONE = True
SCALABLE = True


def project(matrix: Tensor, size: Tensor) -> Tensor:
    """Set all entries outside a support to zero.

    The map is linear, and the nearest point is unique.

    Other parameters, result and errors: `compressor.constraints.ConstraintSet.project`.

    Parameters
    ----------
    size : Tensor of bool, shape (n_rows, n_columns) or that of ``matrix``
        True where entries may be nonzero.

    References
    ----------
    .. [1] L. Le Magoarou, R. Gribonval, "Flexible multilayer sparse approximations of matrices and applications", IEEE
       JSTSP 10(4), 2016, arXiv:1506.07300.

    Examples
    --------
    >>> project(torch.tensor([[3.0, -1.0], [-4.0, 2.0]]), torch.eye(2).bool())
    tensor([[3., 0.],
            [0., 2.]])
    """
    magnitudes(matrix)
    if size.dtype != torch.bool or size.shape not in (matrix.shape, matrix.shape[-2:]):
        found = f"{size.dtype}, {tuple(size.shape)}"
        raise ValueError(f"size: must be a mask of bool of shape {tuple(matrix.shape[-2:])}, got {found}")
    return matrix.masked_fill(~size.to(matrix.device), 0)
