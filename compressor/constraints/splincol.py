"""Matrices whose entries are among the largest of their row or of their column."""

from torch import Tensor

from compressor.numerics.selection import check_count, largest, magnitudes

EXACT = False  # the entries of other rows and columns decide which supports are allowed
CONE = True
SCALABLE = False  # an entry that its row keeps may no longer be kept


def project(matrix: Tensor, size: int) -> Tensor:
    """Keep the largest entries of each row and the largest entries of each column.

    An entry stays if its row or its column keeps it, so that no row and no column becomes zero. It is the union of
    `splin` and `spcol`: a row may have more than ``size`` entries. Of entries of equal magnitude the first are kept.

    Other parameters, result and errors: `compressor.constraints.ConstraintSet.project`.

    Parameters
    ----------
    size : int, >= 0
        Number of entries that each row keeps, and that each column keeps.

    References
    ----------
    .. [1] L. Le Magoarou, R. Gribonval, "Flexible multilayer sparse approximations of matrices and applications", IEEE
       JSTSP 10(4), 2016, arXiv:1506.07300.

    Examples
    --------
    >>> import torch
    >>> project(torch.tensor([[3.0, -1.0], [-4.0, 2.0]]), 1)
    tensor([[ 3.,  0.],
            [-4.,  2.]])
    """
    check_count("size", size)
    sizes = magnitudes(matrix)
    return matrix.masked_fill(~(largest(sizes, size, -1) | largest(sizes, size, -2)), 0)
