"""Matrices with few nonzero entries."""

from torch import Tensor

from compressor.numerics.selection import check_count, largest, magnitudes

EXACT = True
CONE = True
SCALABLE = True


def project(matrix: Tensor, size: int) -> Tensor:
    """Keep the largest entries of a matrix.

    All others become zero. Of entries of equal magnitude the first are kept, row after row.

    Other parameters, result and errors: `compressor.constraints.ConstraintSet.project`.

    Parameters
    ----------
    size : int, >= 0
        Largest number of nonzero entries in the matrix.

    References
    ----------
    .. [1] L. Le Magoarou, R. Gribonval, "Flexible multilayer sparse approximations of matrices and applications", IEEE
       JSTSP 10(4), 2016, arXiv:1506.07300.

    Examples
    --------
    >>> import torch
    >>> project(torch.tensor([[3.0, -1.0], [-4.0, 2.0]]), 2)
    tensor([[ 3.,  0.],
            [-4.,  0.]])
    """
    check_count("size", size)
    sizes = magnitudes(matrix)
    return matrix.masked_fill(~largest(sizes.flatten(-2), size, -1).view_as(sizes), 0)
