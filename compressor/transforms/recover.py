"""Find the butterfly that a matrix is after unknown permutations of its rows and columns."""

import torch
from torch import Tensor

from compressor.numerics.ranks import check_finite
from compressor.transforms import partition
from compressor.transforms.butterfly import check_matrix, fitted, square_pattern
from compressor.transforms.product import SparseProduct

ROUNDING = 2 / 3  # power of the machine epsilon up to which a residual passes as rounding: 4e-11, in float32 2e-5


def recover(matrix: Tensor, *, noise: float = 0.0) -> SparseProduct:
    """Find sparse factors of a matrix whose rows and columns are in an unknown order.

    The matrix is ``matrix[rows][:, columns] = butterfly`` plus noise; signs and other scales are part of the butterfly.
    In each block of it, a row has a partner such that both are proportional on one half of the columns and on the
    other: such pairs and halves, found level by level, are the orders of rows and columns.

    Parameters
    ----------
    matrix : Tensor, shape (n, n)
        Real or complex; finite; n a power of two.
    noise : float, >= 0
        Relative Frobenius norm of the noise. A product further from the matrix is refused.

    Returns
    -------
    SparseProduct
        log2(n) factors of the dtype of the matrix, with two entries in each row and column; the orders of rows and
        columns are part of the first and the last.

    Raises
    ------
    ValueError
        If the residual is above the noise (and above rounding): there is no such product, or it was not found. If the
        matrix is empty, not finite or not a square power of two, or the noise < 0.

    Notes
    -----
    The residual is the certificate: if it is at most the noise, and the noise is as said, the product is within twice
    the noise of the clean matrix. ``noise=1`` returns the best product found, whatever its residual. Where a
    butterfly has many zeros, as a permutation matrix has, several orders fit one level and not the next; it may then be
    refused. Time O(n^3).

    References
    ----------
    .. [1] L. Zheng, G. Puy, E. Riccietti, P. Perez, R. Gribonval, "Butterfly factorization by algorithmic
       identification of rank-one blocks", 2023, arXiv:2307.00820.

    Examples
    --------
    >>> hadamard = torch.tensor([[1.0, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]])
    >>> product = recover(-hadamard[[2, 0, 3, 1]][:, [1, 3, 0, 2]])
    >>> len(product.factors), product.n_nonzeros, product.residual < 1e-6
    (2, 16, True)
    """
    _check(matrix, noise)
    allowed = max(noise, torch.finfo(matrix.dtype).eps ** ROUNDING)
    wide = matrix.detach().to(torch.complex128 if matrix.is_complex() else torch.float64)
    wide = wide / (wide.abs().amax() or 1.0)
    found = _ordered(matrix, *partition.orders(wide))
    if float(found.residual) > allowed:  # the transpose is such a product as well, and other pairs decide its orders
        columns, rows = partition.orders(wide.mT)
        found = min(found, _ordered(matrix, rows, columns), key=lambda product: float(product.residual))
    if float(found.residual) > allowed:
        raise ValueError(
            f"matrix: no product of sparse factors was found within {allowed:.2g} of it, the nearest is at "
            f"{float(found.residual):.2g}; give its noise level if it has noise"
        )
    return found


def _ordered(matrix: Tensor, rows: Tensor, columns: Tensor) -> SparseProduct:
    """Factorize the butterfly that a matrix is in the orders of its rows and columns."""
    product = fitted(matrix[rows][:, columns], square_pattern(matrix))
    first, *others = product.factors
    factors = [first[rows.argsort()], *others]
    factors[-1] = factors[-1][:, columns.argsort()]
    return SparseProduct(tuple(factors), product.residual)


def _check(matrix: Tensor, noise: float) -> None:
    """Refuse what cannot be a permuted butterfly."""
    check_matrix(matrix)
    square_pattern(matrix)
    check_finite(matrix)
    if not noise >= 0:
        raise ValueError(f"noise: must be >= 0, got {noise}")
