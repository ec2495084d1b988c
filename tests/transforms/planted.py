"""Matrices that are products of sparse factors, hidden by orders, signs and noise."""

from math import sqrt

import numpy as np
import scipy.linalg
import torch

from compressor.factorizations.kronecker_sparse import butterfly_pattern, rebuild


def transform(name, n):
    """A Hadamard or Fourier matrix, unitary, in double precision."""
    if name == "hadamard":
        return torch.from_numpy(scipy.linalg.hadamard(n) / sqrt(n))
    return torch.from_numpy(np.fft.fft(np.eye(n), norm="ortho"))


def product(n, seed, pattern=None, dtype=torch.float64):
    """A butterfly, or a product of another pattern, with Gaussian entries."""
    generator = torch.Generator().manual_seed(seed)
    pattern = pattern or butterfly_pattern(n)
    return rebuild(tuple(torch.randn(a, d, b, c, generator=generator, dtype=dtype) for a, b, c, d in pattern))


def hidden(matrix, seed):
    """The matrix with rows and columns permuted and some of their signs flipped."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = (torch.randperm(len(matrix), generator=generator) for _ in range(2))
    signs = torch.randint(0, 2, (2, len(matrix)), generator=generator) * 2 - 1
    return signs[0][:, None] * matrix[rows][:, columns] * signs[1]


def noisy(matrix, level, seed):
    """The matrix with Gaussian noise of a relative Frobenius norm."""
    noise = torch.randn(matrix.shape, generator=torch.Generator().manual_seed(1000 + seed), dtype=matrix.dtype)
    return matrix + noise * (level * matrix.norm() / noise.norm())


def single(matrix):
    """The matrix in single precision."""
    return matrix.to(torch.complex64 if matrix.is_complex() else torch.float32)


def error(found, matrix):
    """Relative Frobenius norm of the difference."""
    return float((found - matrix).norm() / matrix.norm())
