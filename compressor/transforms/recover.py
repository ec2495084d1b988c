"""Find the butterfly that a matrix is after unknown permutations of its rows and columns."""

import torch
from torch import Tensor

from compressor.factorizations import kronecker_sparse
from compressor.numerics.ranks import check_finite
from compressor.transforms import partition
from compressor.transforms.butterfly import check_matrix, dense, square_pattern
from compressor.transforms.product import SparseProduct, relative_error

ROUNDING = 1e5  # times the machine epsilon, of the residual that passes as rounding


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
    the noise of the clean matrix. ``noise=1`` returns the best product found, whatever its residual. Time O(n^3).

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
    allowed = max(noise, ROUNDING * torch.finfo(matrix.dtype).eps)
    wide = matrix.to(torch.complex128 if matrix.is_complex() else torch.float64)
    found = _ordered(matrix, *partition.orders(wide))
    if found.residual > allowed:  # the transpose is such a product as well, and other pairs decide its orders
        columns, rows = partition.orders(wide.mT)
        found = min(found, _ordered(matrix, rows, columns), key=lambda product: product.residual)
    if found.residual > allowed:
        raise ValueError(
            f"matrix: no product of sparse factors was found within {allowed:.2g} of it, the nearest is at "
            f"{found.residual:.2g}; give its noise level if it has noise"
        )
    return found


def _ordered(matrix: Tensor, rows: Tensor, columns: Tensor) -> SparseProduct:
    """Factorize the butterfly that a matrix is in the orders of its rows and columns."""
    moved = matrix[rows][:, columns]
    blocks = kronecker_sparse.factor(moved, pattern=square_pattern(matrix))
    factors = [dense(each) for each in blocks]
    factors[0] = factors[0][rows.argsort()]
    factors[-1] = factors[-1][:, columns.argsort()]
    return SparseProduct(tuple(factors), relative_error(kronecker_sparse.rebuild(blocks), moved))


def _check(matrix: Tensor, noise: float) -> None:
    """Refuse what cannot be a permuted butterfly."""
    check_matrix(matrix)
    n_rows, n_columns = matrix.shape
    if n_rows != n_columns or n_rows & (n_rows - 1):
        raise ValueError(f"matrix: must be square, its size a power of two, got shape {tuple(matrix.shape)}")
    check_finite(matrix)
    if not noise >= 0:
        raise ValueError(f"noise: must be >= 0, got {noise}")
