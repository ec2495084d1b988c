"""Random starts of factors that keep the scale of what passes through them."""

import math

import torch
from torch import Tensor


@torch.no_grad()
def orthogonal_(factor: Tensor, *, is_stack: bool, scale: float = 1.0) -> None:
    """Fill a factor with random matrices whose outputs have the mean square of their inputs, times ``scale`` squared.

    A square matrix is orthogonal, so that a long chain of factors neither grows nor shrinks what passes through, as a
    chain of Gaussian ones may.

    Parameters
    ----------
    factor : Tensor, shape (n_out, n_in), or (n, n_in, n_out) of a stack
        Changed in place.
    is_stack : bool
        Which of the two it is.
    scale : float
        Factor of all matrices.
    """
    n_in, n_out = factor.shape[-2:] if is_stack else (factor.shape[1], factor.shape[0])
    n_matrices = factor.shape[0] if is_stack else 1
    dtype = torch.promote_types(factor.dtype, torch.float32)  # there is no QR in half precision
    gaussian = torch.randn(n_matrices, max(n_in, n_out), min(n_in, n_out), device=factor.device, dtype=dtype)
    tall, triangle = torch.linalg.qr(gaussian)
    tall = tall * triangle.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)  # as likely in every direction
    matrices = tall * (scale * math.sqrt(max(1.0, n_out / n_in)))  # (n_out, n_in) where that is tall
    if n_out < n_in:
        matrices = matrices.mT
    factor.copy_(matrices.mT if is_stack else matrices[0])


@torch.no_grad()
def sparse(n_out: int, n_in: int, n_per_line: int) -> Tensor:
    """Make a random matrix with as many entries in each line of its longer side, spread evenly over the shorter side.

    Its outputs have the mean square of independent inputs: the entries of a row have the variance 1 / their number.

    Parameters
    ----------
    n_out, n_in : int
        Shape.
    n_per_line : int, 1 to min(n_out, n_in)
        Entries in each row if ``n_out >= n_in``, else in each column.

    Returns
    -------
    Tensor, shape (n_out, n_in)
    """
    longer, shorter = max(n_out, n_in), min(n_out, n_in)
    lines, places = torch.randperm(longer), torch.randperm(shorter)
    shifts = torch.randperm(shorter)[:n_per_line]
    columns = places[(lines.unsqueeze(1) + shifts) % shorter]
    pattern = torch.zeros(longer, shorter).scatter_(1, columns, 1.0)
    pattern = pattern if n_out >= n_in else pattern.T
    return torch.randn(n_out, n_in) * pattern / pattern.sum(dim=1, keepdim=True).clamp(min=1).sqrt()
