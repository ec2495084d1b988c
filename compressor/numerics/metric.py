"""In which norm a weight is approximated: plain, or as its inputs and outputs weigh the error."""

from dataclasses import dataclass

import torch
from torch import Tensor

from compressor.errors import listed

FLOOR = 1e-12  # of the largest eigenvalue: directions below it are never read, and would be divided by


@dataclass(frozen=True)
class Metric:
    """The norm ||L (W - approximation) S||_F for weights W of shape (n_rows, n_columns).

    Made by `second_moment`, `diagonal` or `fisher`; no metric at all is the plain Frobenius norm.
    """

    left: Tensor | None = None
    """The diagonal of L, shape (n_rows,), > 0, float64."""
    right: Tensor | None = None
    """S, shape (n_columns, n_columns), or its diagonal, shape (n_columns,); invertible, float64."""
    inverse: Tensor | None = None
    """The inverse of S, of the same shape."""

    def whiten(self, weight: Tensor) -> Tensor:
        """Compute L W S in float64."""
        return _times(_scaled(self.left, weight.double()), self.right)

    def unwhiten_rows(self, factor: Tensor) -> Tensor:
        """Divide a factor of shape (n_rows, rank) by L."""
        return factor if self.left is None else factor / self.left.unsqueeze(-1)

    def unwhiten_columns(self, factor: Tensor) -> Tensor:
        """Multiply a factor of shape (rank, n_columns) by the inverse of S."""
        return _times(factor, self.inverse)

    def error(self, weight: Tensor, approximation: Tensor) -> float:
        """Error in this norm, relative to the norm of the weight; 0 for a weight of zeros that is met."""
        whole = float(self.whiten(weight).norm())
        gap = float(self.whiten(weight.double() - approximation.double()).norm())
        return gap / whole if whole else gap


PLAIN = Metric()


def second_moment(moment: Tensor) -> Metric:
    """Weigh errors by what a layer reads: the norm is that of the layer's output error.

    Parameters
    ----------
    moment : Tensor, shape (n_columns, n_columns)
        Mean of x x^T over the inputs of the layer; symmetric, positive semi-definite.

    Raises
    ------
    ValueError
        If it is not a square matrix of finite numbers.

    References
    ----------
    .. [1] X. Wang et al., "SVD-LLM: truncation-aware singular value decomposition", 2025, arXiv:2403.07378.
    """
    if moment.ndim != 2 or moment.shape[0] != moment.shape[1] or not bool(moment.isfinite().all()):
        raise ValueError(f"moment: must be a square matrix of finite numbers, got shape {tuple(moment.shape)}")
    values, vectors = torch.linalg.eigh(moment.double())
    scales = values.clamp(min=max(float(values.max()) * FLOOR, torch.finfo(torch.float64).tiny)).sqrt()
    return Metric(right=vectors * scales, inverse=(vectors / scales).T)


def diagonal(scale: Tensor) -> Metric:
    """Weigh the error of each column by a positive scale, such as the mean magnitude of what it reads (ASVD).

    References
    ----------
    .. [1] Z. Yuan et al., "ASVD: activation-aware singular value decomposition", 2023, arXiv:2312.05821.
    """
    scale = _positive(scale, "scale")
    return Metric(right=scale, inverse=1 / scale)


def fisher(rows: Tensor) -> Metric:
    """Weigh the squared error of each row by its Fisher information, the sum of its squared gradients (FWSVD).

    References
    ----------
    .. [1] Y.-C. Hsu et al., "Language model compression with weighted low-rank factorization", 2022, arXiv:2207.00112.
    """
    return Metric(left=_positive(rows, "rows").sqrt())


def _positive(values: Tensor, name: str) -> Tensor:
    """Check a vector of weights; zeros are raised to a small share of the largest, so that one can divide by them."""
    if values.ndim != 1 or not bool((values.isfinite() & (values >= 0)).all()) or not bool(values.any()):
        raise ValueError(
            f"{name}: must be a vector of finite numbers >= 0, not all zero; got {listed(values.tolist(), most=4)}"
        )
    values = values.double()
    return values.clamp(min=float(values.max()) * FLOOR**0.5)


def _scaled(left: Tensor | None, weight: Tensor) -> Tensor:
    return weight if left is None else left.unsqueeze(-1) * weight


def _times(matrix: Tensor, right: Tensor | None) -> Tensor:
    if right is None:
        return matrix
    return matrix * right if right.ndim == 1 else matrix @ right
