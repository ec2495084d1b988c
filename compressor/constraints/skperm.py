"""Matrices with few nonzero entries in each row and in each column."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment, linprog
from scipy.sparse import eye_array, kron, vstack
from torch import Tensor

from compressor.numerics.selection import check_count, magnitudes

DIGITS = 9  # of energies, the largest of which is 1: entries that differ by rounding are equal
TOLERANCE = 1e-10  # of reduced costs, relative to the largest squared entry: the least that HiGHS takes

EXACT = True
CONE = True
SCALABLE = True


def project(matrix: Tensor, size: int) -> Tensor:
    """Keep the entries of largest energy, at most ``size`` in each row and in each column.

    With size 1 a square matrix becomes a permutation of scaled entries. Each matrix of a batch is solved by itself, on
    the CPU. Entries are taken by falling energy; if these are the largest of each row, or of each column, nothing is
    better. Otherwise the Hungarian method solves it for size 1, else a linear program, whose vertices are integral.

    Other parameters, result and errors: `compressor.constraints.ConstraintSet.project`.

    Parameters
    ----------
    size : int, >= 0
        Largest number of nonzero entries in a row or a column.

    Notes
    -----
    The linear program has a variable for each entry; sizes beyond 100 x 100 take seconds. Energies that differ by less
    than 1e-10 of the largest count as equal.

    References
    ----------
    .. [1] L. Le Magoarou, R. Gribonval, "Flexible multilayer sparse approximations of matrices and applications", IEEE
       JSTSP 10(4), 2016, arXiv:1506.07300.

    Examples
    --------
    >>> project(torch.tensor([[3.0, 2.0], [-4.0, 1.0]]), 1)
    tensor([[ 0.,  2.],
            [-4.,  0.]])
    """
    check_count("size", size)
    sizes = magnitudes(matrix)
    if size == 0 or not sizes.numel():
        return torch.zeros_like(matrix)
    energies = (sizes / sizes.amax((-2, -1), keepdim=True).clamp_min(torch.finfo(sizes.dtype).tiny)).square()
    masks = [_support(item, size) for item in energies.flatten(0, -3).double().cpu().numpy()] if matrix.ndim > 2 else []
    mask = np.stack(masks) if masks else _support(energies.double().cpu().numpy(), size)
    return matrix.masked_fill(~torch.from_numpy(mask).view(matrix.shape).to(matrix.device), 0)


def _support(energies: NDArray[np.float64], size: int) -> NDArray[np.bool_]:
    """Mark the entries of largest energy in total, at most ``size`` in each row and column."""
    if size >= max(energies.shape):
        return np.ones(energies.shape, dtype=bool)
    first = _greedy(energies, size)
    if energies[first].sum() >= (1 - TOLERANCE) * min(_most(energies, size), _most(energies.T, size)):
        return first
    mask = _assigned(energies) if size == 1 else _linear_program(energies, size)
    mask &= energies > 0
    for row, column in zip(*np.nonzero(~mask & (energies > 0)), strict=True):  # below the solver's tolerance
        mask[row, column] = mask[row].sum() < size and mask[:, column].sum() < size
    return mask


def _greedy(energies: NDArray[np.float64], size: int) -> NDArray[np.bool_]:
    """Take entries by falling energy, the first of equal ones, while their rows and columns have room."""
    mask = np.zeros(energies.shape, dtype=bool)
    room = [[size] * n for n in energies.shape]
    order = np.argsort(-energies.ravel().round(DIGITS), kind="stable")
    order = order[energies.ravel()[order] > 0]
    for row, column in zip(*(index.tolist() for index in np.unravel_index(order, energies.shape)), strict=True):
        if room[0][row] and room[1][column]:
            mask[row, column] = True
            room[0][row] -= 1
            room[1][column] -= 1
    return mask


def _most(energies: NDArray[np.float64], size: int) -> float:
    """Energy of the largest entries of each row: a bound."""
    return float(np.sort(energies, axis=1)[:, -size:].sum())


def _assigned(energies: NDArray[np.float64]) -> NDArray[np.bool_]:
    mask = np.zeros(energies.shape, dtype=bool)
    mask[linear_sum_assignment(energies, maximize=True)] = True
    return mask


def _linear_program(energies: NDArray[np.float64], size: int) -> NDArray[np.bool_]:
    n_rows, n_columns = energies.shape
    of_rows = kron(eye_array(n_rows), np.ones((1, n_columns)))
    of_columns = kron(np.ones((1, n_rows)), eye_array(n_columns))
    limits = vstack([of_rows, of_columns], format="csr")
    options = {"dual_feasibility_tolerance": TOLERANCE}
    found = linprog(-energies.ravel(), limits, np.full(sum(energies.shape), size), bounds=(0, 1), options=options)
    if found.x is None:
        raise RuntimeError(f"skperm: the linear program failed: {found.message}")
    mask: NDArray[np.bool_] = found.x.reshape(energies.shape) > 0.5
    return mask
