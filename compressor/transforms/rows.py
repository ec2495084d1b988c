"""Rows of a matrix, such as centroids, as a product of sparse factors by which vectors are multiplied."""

from functools import reduce
from typing import Any

import numpy as np
import scipy.sparse

from compressor.transforms.product import SparseProduct

N_AT_ONCE = 32  # vectors: larger blocks of them leave the cache, and take up to 5 times as long

Array = np.ndarray[Any, np.dtype[Any]]


class SparseRows:
    """A product of sparse factors in compressed rows (CSR), and what distances to its rows take.

    Parameters
    ----------
    product : SparseProduct
        Of shape (n_rows, n_columns), real.
    dtype : numpy dtype
        In which it is multiplied.
    """

    def __init__(self, product: SparseProduct, dtype: Any) -> None:
        factors = (scipy.sparse.csr_array(factor.numpy()) for factor in product.factors)
        self.factors = tuple(factor.astype(dtype) for factor in factors)
        self.dense: Array = product.dense().numpy().astype(dtype)
        self.squares: Array = np.einsum("ij,ij->i", self.dense, self.dense)

    @property
    def n_nonzeros(self) -> int:
        """Number of nonzero entries in all factors."""
        return sum(int(factor.count_nonzero()) for factor in self.factors)

    def inner(self, vectors: Array) -> Array:
        """Multiply vectors, shape (n, n_columns), by the rows: shape (n, n_rows)."""
        products = np.empty((len(vectors), len(self.squares)), dtype=self.dense.dtype)
        for start in range(0, len(vectors), N_AT_ONCE):
            block = vectors[start : start + N_AT_ONCE]
            products[start : start + N_AT_ONCE] = reduce(_multiplied, reversed(self.factors), block.T).T
        return products

    def squared_distances(self, vectors: Array) -> Array:
        """Squared Euclidean distances from vectors to the rows: shape (n, n_rows)."""
        squares = np.einsum("ij,ij->i", vectors, vectors)
        distances: Array = np.maximum(squares[:, None] + self.squares - 2 * self.inner(vectors), 0)
        return distances


def _multiplied(done: Any, factor: Any) -> Any:
    return factor @ done
