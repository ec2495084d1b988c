"""Permuted butterflies: found clean and under noise, and refused where there is none."""

import numpy as np
import pytest
import scipy.fft
import torch
from transforms.planted import error, hidden, noisy, product, single, transform

from compressor.transforms import recover


@pytest.mark.parametrize("name", ["hadamard", "dft"])
@pytest.mark.parametrize("n", [2, 4, 8, 16, 32, 64, 128])
def test_permuted_transforms_are_found(name, n):
    matrix = hidden(transform(name, n), seed=n)
    found = recover(matrix)
    assert found.n_nonzeros == 2 * n * (n.bit_length() - 1)
    assert all(int(each.count_nonzero(dim=axis).max()) == 2 for each in found.factors for axis in (0, 1))
    assert error(found.dense(), matrix) <= 1e-10


@pytest.mark.parametrize("name", ["hadamard", "dft"])
@pytest.mark.parametrize("level", [0.01, 0.05])
def test_the_error_is_below_the_noise(name, level):
    matrix = hidden(transform(name, 32), seed=5)
    assert error(recover(noisy(matrix, level, seed=5), noise=level).dense(), matrix) < level


@pytest.mark.parametrize("n", [32, 64])
@pytest.mark.parametrize("seed", range(8))
def test_permuted_gaussian_butterflies_are_found(n, seed):
    matrix = hidden(product(n, seed), seed)
    assert error(recover(matrix).dense(), matrix) <= 1e-10


@pytest.mark.parametrize("n", [32, pytest.param(64, marks=pytest.mark.slow)])
def test_permuted_gaussian_butterflies_are_found_under_noise(n):
    matrices = [hidden(product(n, seed), seed) for seed in range(8)]
    found = [recover(noisy(matrix, 0.01, seed), noise=1).dense() for seed, matrix in enumerate(matrices)]
    assert sum(error(each, matrix) < 0.02 for each, matrix in zip(found, matrices, strict=True)) >= 6


def test_complex_and_single_precision():
    matrix = hidden(product(32, seed=9, dtype=torch.complex128), seed=9)
    assert error(recover(matrix).dense(), matrix) <= 1e-10
    found = recover(single(matrix))
    assert {each.dtype for each in found.factors} == {torch.complex64}
    assert error(found.dense(), matrix) <= 1e-6
    assert recover(single(hidden(product(32, seed=9), seed=9))).residual <= 1e-6


def test_a_permutation_matrix_is_found():
    matrix = torch.eye(32)[torch.randperm(32, generator=torch.Generator().manual_seed(0))]
    assert recover(matrix).residual <= 1e-6


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_entries_may_be_very_small_or_large(scale):
    assert 0 < recover(hidden(product(16, seed=3), seed=3) * scale).residual <= 1e-10


def test_a_zero_row_and_a_zero_column_are_no_obstacle():
    matrix = hidden(product(32, seed=4), seed=4)
    matrix[7] = matrix[:, 5] = 0
    assert recover(matrix).residual <= 1e-10


def test_zero_and_one_by_one():
    zero = recover(torch.zeros(8, 8))
    assert (zero.residual, zero.dense().count_nonzero()) == (0.0, 0)
    assert recover(torch.tensor([[3.0]])).dense().tolist() == [[3.0]]


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.5])
def test_a_matrix_without_structure_is_refused(noise):
    matrix = torch.randn(32, 32, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=r"^matrix: no product of sparse factors was found within \S+ of it, the near"):
        recover(matrix, noise=noise)
    assert recover(matrix, noise=1).residual > 0.5


def test_transforms_that_are_no_such_product_are_refused():
    cosine = torch.from_numpy(scipy.fft.dct(np.eye(32), norm="ortho"))
    with pytest.raises(ValueError, match=r"^matrix: no product of sparse factors was found within 3\.7e-11 of it"):
        recover(cosine)
    planted = hidden(transform("hadamard", 32), seed=0)
    with pytest.raises(ValueError, match=r"within 0\.05 of it, the nearest is at 0\.\d+; give its noise"):
        recover(noisy(planted, 0.5, seed=0), noise=0.05)


def test_noise_that_was_not_announced_is_refused():
    matrix = noisy(hidden(transform("hadamard", 32), seed=0), 0.01, seed=0)
    with pytest.raises(ValueError, match=r"the nearest is at 0\.00\d+; give its noise level if it has noise$"):
        recover(matrix)


@pytest.mark.parametrize(
    ("matrix", "noise", "message"),
    [
        (torch.zeros(0, 0), 0.0, r"^matrix: must have two axes and at least one entry, got shape \(0, 0\)$"),
        (torch.zeros(4, 8), 0.0, r"^matrix: must be square, its size a power of two, got shape \(4, 8\)$"),
        (torch.full((4, 4), float("inf")), 0.0, r"^tensor: entries must be finite, found nan or inf$"),
        (torch.ones(4, 4), -1.0, r"^noise: must be >= 0, got -1\.0$"),
    ],
)
def test_what_cannot_be_one_is_refused(matrix, noise, message):
    with pytest.raises(ValueError, match=message):
        recover(matrix, noise=noise)
