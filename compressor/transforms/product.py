"""A product of sparse factors, and how far it is from the matrix that it stands for."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class SparseProduct:
    """A product of sparse factors.

    Attributes
    ----------
    factors : tuple of Tensor
        From the left; dense tensors with many zeros, real or complex.
    residual : float
        Relative Frobenius norm of the difference from the matrix; 0 if both are zero.

    Examples
    --------
    >>> product = SparseProduct((torch.eye(2), torch.tensor([[0.0, 1], [1, 0]])), residual=0.0)
    >>> product.dense().tolist(), product.n_nonzeros
    ([[0.0, 1.0], [1.0, 0.0]], 4)
    """

    factors: tuple[Tensor, ...]
    residual: float

    def dense(self) -> Tensor:
        """Multiply the factors."""
        return torch.linalg.multi_dot(self.factors) if len(self.factors) > 1 else self.factors[0].clone()

    @property
    def n_nonzeros(self) -> int:
        """Number of nonzero entries of all factors."""
        return sum(int(factor.count_nonzero()) for factor in self.factors)


def relative_error(approximation: Tensor, matrix: Tensor) -> float:
    """Relative Frobenius norm of a difference; 0 if both are zero, computed in double precision."""
    wide = torch.complex128 if matrix.is_complex() else torch.float64
    error = float(torch.linalg.norm((approximation.to(wide) - matrix.to(wide))))
    return error / float(torch.linalg.norm(matrix.to(wide))) if error else 0.0
