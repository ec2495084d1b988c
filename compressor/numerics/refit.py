"""Refit the factors of a factorization by least squares in the norm of a metric, one factor after the other."""

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from compressor.numerics.metric import Metric

TOLERANCE = 1e-12  # conjugate gradients stop when the gradient has shrunk by this factor
ENOUGH = 1e-6  # sweeps stop when one lowers no squared error by more than this share


class Form(Protocol):
    """How factors make a tensor; `compressor.factorizations.Equation` is one."""

    @property
    def axes(self) -> tuple[str, ...]:
        """One entry for each axis of the tensor."""

    @property
    def sparse(self) -> tuple[int, ...]:
        """Indices of factors whose zeros stay."""

    def rebuild(self, factors: Sequence[Tensor], /) -> Tensor:
        """Compute the tensor, which is linear in each factor, but for terms without it."""


def refit(
    factors: Sequence[Tensor], form: Form, tensor: Tensor, metric: Metric, *, n_sweeps: int = 4, n_steps: int = 30
) -> tuple[Tensor, ...]:
    """Lower the error of factors in the norm of a metric; it never rises.

    Each factor in turn is the solution of a linear least-squares problem while the others are held. Conjugate
    gradients solve it, starting from the factor, without ever forming its matrix.

    Parameters
    ----------
    factors : sequence of Tensor, shapes (*batch, ...)
        The start, such as the fit in the plain norm.
    form : Equation
        How the factors make the tensor.
    tensor : Tensor, shape (*batch, *axes)
        What is approximated; it is seen as matrices whose columns are the last axes.
    metric : Metric
        Norm of the error; the sizes of its parts say which axes are rows and which are columns.
    n_sweeps : int
        Most passes over all factors.
    n_steps : int
        Most steps of conjugate gradients for a factor.

    Returns
    -------
    tuple of Tensor
        New factors of the same shapes, in float64. Zeros of the sparse ones stay.

    Raises
    ------
    ValueError
        If the metric does not fit the sizes of the tensor's axes.

    References
    ----------
    .. [1] C. C. Paige, M. A. Saunders, "LSQR: an algorithm for sparse linear equations and sparse least squares",
       1982, DOI 10.1145/355984.355989; section 7.1 has the form that is used here, CGLS.
    """
    n_batch = tensor.ndim - len(form.axes)
    shape = (*tensor.shape[:n_batch], *matrix_shape(tensor.shape[n_batch:], metric))
    target = metric.whiten(tensor.double().reshape(shape))
    current = [factor.double() for factor in factors]
    kept = {i: current[i] != 0 for i in form.sparse}

    def approximation(i: int) -> Callable[[Tensor], Tensor]:
        def of_factor(factor: Tensor) -> Tensor:
            masked = factor * kept[i] if i in kept else factor
            return metric.whiten(form.rebuild([*current[:i], masked, *current[i + 1 :]]).reshape(shape))

        return of_factor

    error = _dot(target - approximation(0)(current[0]), n_batch)
    for _ in range(n_sweeps):
        before = error
        for i in range(len(current)):
            current[i], error = _solve(approximation(i), current[i], target, n_batch, n_steps)
        if bool((error >= before * (1 - ENOUGH)).all()):
            break
    return tuple(current)


def matrix_shape(shape: Sequence[int], metric: Metric) -> tuple[int, int]:
    """Count the rows and columns that a metric sees in a tensor, whose last axes are the columns."""
    n_rows = None if metric.left is None else len(metric.left)
    n_columns = None if metric.right is None else len(metric.right)
    for i in range(len(shape), -1, -1):
        rows, columns = math.prod(shape[:i]), math.prod(shape[i:])
        if n_rows in (None, rows) and n_columns in (None, columns):
            return rows, columns
    wanted = f"{n_rows or 'any'} rows and {n_columns or 'any'} columns"
    raise ValueError(f"metric: is for {wanted}, which no split of the axes of shape {tuple(shape)} has")


def _solve(
    affine: Callable[[Tensor], Tensor], start: Tensor, target: Tensor, n_batch: int, n_steps: int
) -> tuple[Tensor, Tensor]:
    """Minimize ||target - affine(x)|| from ``start``; return x and its squared error, no larger than at the start."""
    constant = affine(torch.zeros_like(start))
    target = target - constant

    def linear(factor: Tensor) -> Tensor:
        return affine(factor) - constant

    value, transposed = torch.func.vjp(linear, start)[:2]
    solution, residual = start, target - value
    error = _dot(residual, n_batch)
    gradient = direction = transposed(residual)[0]
    size = first = _dot(gradient, n_batch)
    for _ in range(n_steps):
        if bool((size <= first * TOLERANCE**2).all()):
            break
        change = linear(direction)
        step = _ratio(size, _dot(change, n_batch))
        solution = solution + _spread(step, solution) * direction
        residual = residual - _spread(step, residual) * change
        gradient = transposed(residual)[0]
        size, before = _dot(gradient, n_batch), size
        direction = gradient + _spread(_ratio(size, before), gradient) * direction
    reached = _dot(target - linear(solution), n_batch)
    better = reached < error
    return torch.where(_spread(better, start), solution, start), torch.where(better, reached, error)


def _dot(values: Tensor, n_batch: int) -> Tensor:
    """Squared norm of each tensor of a batch."""
    return values.square().flatten(n_batch).sum(dim=-1)


def _ratio(above: Tensor, below: Tensor) -> Tensor:
    return torch.where(below > 0, above / below.clamp(min=torch.finfo(below.dtype).tiny), 0.0)


def _spread(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(*values.shape, *[1] * (like.ndim - values.ndim))
