"""The nuclear ball, of the trace norm: its projection lowers the rank of a matrix."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from compressor.numerics import arguments, maps, simplex
from compressor.numerics.groups import split

EXACT = True
ZEROES = "ranks"
TIED = 1e-10  # of the largest singular value: a difference that is rounding error


def norm(matrix: Tensor) -> Tensor:
    """Sum of the singular values; of shape batch."""
    return _decomposed(matrix)[1].sum(-1).to(_dtype(matrix))


def dual_norm(matrix: Tensor) -> Tensor:
    """Largest singular value; of shape batch."""
    return simplex.peak(_decomposed(matrix)[1]).to(_dtype(matrix))


def radius_for(matrix: Tensor, column_sparsity: float) -> float | Tensor:
    """Radius at which ``project`` zeroes the fraction ``column_sparsity`` of the singular values."""
    return simplex.radius_for(_decomposed(matrix)[1], None, column_sparsity)


def project(matrix: Tensor, radius: float | Tensor, *, out: Tensor | None = None, check_finite: bool = True) -> Tensor:
    """Project a matrix onto the nuclear ball: every singular value is reduced by the same amount, to 0 or more.

    The rank falls with the radius, and the singular vectors stay; entries may change their signs.

    Other parameters, result and errors: `compressor.balls.Ball.project`.

    Parameters
    ----------
    matrix : Tensor, shape (*batch, n_rows, n_columns)
        Weights of a layer. The kernel of a convolution is a batch: flatten it for one rank.
    radius : float or Tensor, shape batch, >= 0
        Largest sum of the singular values.

    Notes
    -----
    One singular value decomposition, in float64. The gradient is finite also where singular values coincide, as that
    of the decomposition alone is not.

    References
    ----------
    .. [1] B. Mishra, G. Meyer, F. Bach, R. Sepulchre, "Low-rank optimization with trace norm penalty", SIAM J. Optim.
       23(4), 2013, arXiv:1112.2318.

    Examples
    --------
    >>> import torch
    >>> project(torch.tensor([[3.0, 0.0], [0.0, 1.0]]), radius=2.0)
    tensor([[2., 0.],
            [0., 0.]])
    """
    left, values, right = _decomposed(matrix)
    if check_finite:
        arguments.require_finite(values)
    shrunk = simplex.shrink(values, radius, None)
    is_inside = shrunk.isinf().any(-1)[..., None, None]
    reduced = shrunk.masked_fill(shrunk.isinf(), 0.0)
    parts = left.detach(), values.detach(), right.detach()
    nearest = _Recomposed.apply(matrix.double(), reduced, *parts)  # type: ignore[no-untyped-call]
    return maps.apply(_replace, matrix, torch.where(is_inside, torch.inf, nearest).unsqueeze(0), dim=None, out=out)


def _decomposed(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Singular vectors and values in float64; NaN for a matrix that is not finite, of which there are none."""
    split(matrix, 0)  # refuses other types
    if matrix.ndim < 2:
        raise ValueError(f"matrix: needs 2 dimensions, got {tuple(matrix.shape)}")
    is_finite = matrix.isfinite().all(-1).all(-1)[..., None]
    left, values, right = torch.linalg.svd(matrix.double().where(is_finite[..., None], 0.0), full_matrices=False)
    return left, values.where(is_finite, torch.nan), right


class _Recomposed(torch.autograd.Function):
    """The matrix of reduced singular values, with the derivative of the vectors by the matrix."""

    @staticmethod
    def forward(context: Any, matrix: Tensor, reduced: Tensor, left: Tensor, values: Tensor, right: Tensor) -> Tensor:
        context.save_for_backward(reduced, left, values, right)
        return (left * reduced.unsqueeze(-2)) @ right

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        reduced, left, values, right = context.saved_tensors
        core = left.mT @ gradient @ right.mT
        even, odd = (core + core.mT) / 2, (core - core.mT) / 2
        rates = _differences(reduced, values) * even + _sums(reduced, values) * odd
        ratios = simplex.ratio(reduced, values)
        beside = (gradient - left @ (left.mT @ gradient)) @ (right.mT * ratios.unsqueeze(-2)) @ right
        below = left @ (ratios.unsqueeze(-1) * (left.mT @ (gradient - gradient @ right.mT @ right)))
        return left @ rates @ right + beside + below, core.diagonal(dim1=-2, dim2=-1), None, None, None


def _differences(reduced: Tensor, values: Tensor) -> Tensor:
    """Divide differences of the reduced values by those of the values; 0 on the diagonal, which autograd has."""
    steps = values.unsqueeze(-1) - values.unsqueeze(-2)
    is_tied = steps.abs() <= TIED * values.amax(-1, keepdim=True).unsqueeze(-1)
    alive = (reduced > 0).to(values.dtype)
    ratios = (reduced.unsqueeze(-1) - reduced.unsqueeze(-2)) / steps.masked_fill(is_tied, 1.0)
    ratios = torch.where(is_tied, alive.unsqueeze(-1) * alive.unsqueeze(-2), ratios)
    return ratios - torch.diag_embed(ratios.diagonal(dim1=-2, dim2=-1))


def _sums(reduced: Tensor, values: Tensor) -> Tensor:
    """Divide sums of the reduced values by those of the values; 0 where these are 0."""
    return simplex.ratio(reduced.unsqueeze(-1) + reduced.unsqueeze(-2), values.unsqueeze(-1) + values.unsqueeze(-2))


def _replace(entries: Tensor, numbers: Tensor, out: Tensor | None) -> Tensor:
    """Take the numbers, but leave the entries where they are infinite."""
    if out is None:
        return torch.where(numbers.isinf(), entries, numbers.to(entries.dtype))
    return torch.where(numbers.isinf(), entries, numbers.to(entries.dtype), out=out)


def _dtype(matrix: Tensor) -> torch.dtype:
    return torch.promote_types(matrix.dtype, torch.float32)
