"""What the algorithms of this folder return: a product of sparse factors that approximates a matrix."""

from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from compressor.numerics.chains import Pattern


@dataclass(frozen=True, eq=False)
class SparseProduct:
    """A product of sparse factors, or a batch of products.

    ``product @ vectors`` multiplies by the factors one after another, from the last to the first.

    Examples
    --------
    >>> matrix = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    >>> product = SparseProduct((torch.eye(2), matrix), 0.0)
    >>> product.n_nonzeros, product @ torch.tensor([[1.0], [2.0]])
    (6, tensor([[ 3.],
            [-1.]]))
    """

    factors: tuple[Tensor, ...]
    """Dense tensors with zeros, each of shape (*batch, n_rows, n_columns); the first has the rows of the matrix."""
    residual: float | Tensor
    """Frobenius norm of the error over that of the matrix, 0 for an exact zero matrix; of shape batch for a batch."""
    pattern: Pattern | None = None
    """Kronecker-sparse (a, b, c, d) of each factor, if all of them are: layers made of it need no
    dense products."""

    def dense(self) -> Tensor:
        """Multiply the factors, shape (*batch, n_rows, n_columns)."""
        return reduce(torch.matmul, self.factors)

    @property
    def n_nonzeros(self) -> int:
        """Number of nonzero entries in all factors, over the whole batch."""
        return sum(int(torch.count_nonzero(factor)) for factor in self.factors)

    def __matmul__(self, vectors: Tensor) -> Tensor:
        """Multiply columns of shape (*batch, n_columns, n_vectors) by the product."""
        return reduce(lambda done, factor: factor @ done, reversed(self.factors), vectors)


def measured(factors: tuple[Tensor, ...], matrix: Tensor) -> SparseProduct:
    """Return factors with their residual for a matrix."""
    error = torch.linalg.vector_norm(reduce(torch.matmul, factors) - matrix, dim=(-2, -1))
    norm = torch.linalg.vector_norm(matrix, dim=(-2, -1))
    relative = torch.where(norm > 0, error / norm.where(norm > 0, 1.0), error)
    return SparseProduct(factors, relative if relative.ndim else float(relative))
