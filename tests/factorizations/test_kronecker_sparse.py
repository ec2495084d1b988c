"""Products of Kronecker-sparse factors: transforms, planted and noisy products, and the dense factors by definition."""

from math import sqrt
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch

from compressor.factorizations import diagonal, fisher, kronecker_sparse
from compressor.factorizations.kronecker_sparse import butterfly_pattern, factor, rebuild
from compressor.numerics.metric import PLAIN

PATTERNS = [  # square and rectangular, of inner rank one and more, with zeros in the product
    [(1, 4, 3, 6), (3, 6, 5, 1)],
    [(1, 2, 6, 8), (3, 4, 2, 4), (3, 4, 10, 2), (15, 4, 2, 1)],
    [(2, 3, 4, 6), (4, 4, 2, 3), (8, 1, 5, 3)],
    [(3, 2, 5, 4)],
    butterfly_pattern(16),
]
ORDERS = ["balanced", "hierarchical"]


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def dense(blocks):
    """A factor by its definition: block (i, j) on rows (i, k, j) and columns (i, l, j)."""
    a, d, b, c = blocks.shape
    matrix = torch.zeros(a * b * d, a * c * d, dtype=blocks.dtype)
    for i, j, k, m in np.ndindex(a, d, b, c):
        matrix[(i * b + k) * d + j, (i * c + m) * d + j] = blocks[i, j, k, m]
    return matrix


def planted(pattern, dtype=torch.float64, seed=0):
    factors = [random(a, d, b, c, seed=seed + i, dtype=dtype) for i, (a, b, c, d) in enumerate(pattern)]
    return torch.linalg.multi_dot([dense(each) for each in factors]) if len(factors) > 1 else dense(factors[0])


def transform(name, n):
    if name == "hadamard":
        return torch.from_numpy(scipy.linalg.hadamard(n) / sqrt(n))
    order = [int(bin(n + i)[:2:-1], 2) for i in range(n)]  # bits reversed
    return torch.from_numpy(scipy.linalg.dft(n, scale="sqrtn")[:, order])


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", ["hadamard", "dft"])
@pytest.mark.parametrize("n", [32, 64, 128, 256, 512, 1024])
def test_fast_transforms_are_found(name, n, order):
    matrix = transform(name, n)
    factors = factor(matrix, pattern=butterfly_pattern(n), order=order)
    assert sum(int((each != 0).sum()) for each in factors) == 2 * n * (n.bit_length() - 1)
    assert float((rebuild(factors) - matrix).norm() / matrix.norm()) <= 1e-12
    single = rebuild(
        factor(matrix.to(torch.complex64 if matrix.is_complex() else torch.float32), pattern=butterfly_pattern(n))
    )
    assert float((single - matrix).norm() / matrix.norm()) <= 1e-6


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("order", ORDERS)
def test_planted_products_are_found(pattern, dtype, order):
    matrix = planted(pattern, dtype)
    factors = factor(matrix, pattern=pattern, order=order)
    assert [tuple(each.shape) for each in factors] == [(a, d, b, c) for a, b, c, d in pattern]
    torch.testing.assert_close(rebuild(factors), matrix, rtol=0, atol=1e-11 * float(matrix.abs().max()))
    product = dense(factors[0])
    for each in factors[1:]:
        product = product @ dense(each)
    torch.testing.assert_close(rebuild(factors), product)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("noise", [0.01, 0.1, 1.0])
def test_the_error_is_within_the_guarantee(pattern, order, noise):
    """The planted product is at the distance of the noise, so the best is no farther."""
    clean = planted(pattern)
    change = random(*clean.shape, seed=9)
    change *= noise * clean.norm() / change.norm()
    found = rebuild(factor(clean + change, pattern=pattern, order=order))
    assert float((found - clean - change).norm()) <= sqrt(max(1, len(pattern) - 1)) * float(change.norm())


@pytest.mark.parametrize("noise", [0.01, 0.05, 0.1])
@pytest.mark.parametrize("n", [32, 64])
def test_noise_is_halved(n, noise):
    clean = transform("hadamard", n)
    change = random(n, n, seed=n)
    change *= noise * clean.norm() / change.norm()
    found = rebuild(factor(clean + change, pattern=butterfly_pattern(n)))
    assert float((found - clean).norm()) <= 0.5 * float(change.norm())


@pytest.mark.parametrize("order", ORDERS)
def test_two_factors_are_the_nearest(order):
    """Of two factors each block is a truncated SVD."""
    matrix = random(24, 15)
    found = rebuild(factor(matrix, pattern=[(1, 4, 3, 6), (3, 6, 5, 1)], order=order))
    blocks = matrix.reshape(4, 6, 3, 5).permute(1, 2, 0, 3)
    tail = torch.linalg.svdvals(blocks)[..., 1:].norm()
    assert float((found - matrix).norm()) == pytest.approx(float(tail), rel=1e-10)


@pytest.mark.parametrize("metric", [diagonal(random(60, seed=1).abs()), fisher(random(16, seed=2).abs())])
def test_scales_of_rows_and_columns_are_met_with_the_guarantee(metric):
    pattern = [(1, 2, 3, 8), (3, 4, 2, 2), (6, 2, 10, 1)]
    clean = planted(pattern)
    assert metric.error(clean, rebuild(factor(clean, pattern=pattern, metric=metric))) < 1e-12
    noisy = clean + random(16, 60, seed=5)
    error = metric.error(noisy, rebuild(factor(noisy, pattern=pattern, metric=metric)))
    assert error <= sqrt(2) * metric.error(noisy, clean)


def test_a_larger_rank_lowers_the_error_to_nothing():
    matrix, pattern = random(32, 32), butterfly_pattern(32)
    errors = [PLAIN.error(matrix, rebuild(factor(matrix, pattern=pattern, rank=rank))) for rank in (1, 2, 3, 4)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.5
    assert errors[-1] < 1e-12


def test_dead_blocks_stay_zero():
    """Zero blocks and blocks of lower rank than the factors."""
    pattern = [(1, 2, 6, 8), (3, 4, 2, 4), (3, 4, 10, 2), (15, 4, 2, 1)]
    matrix = planted(pattern)
    matrix[:4] = 0
    matrix[:, 10:25] = 0
    found = rebuild(factor(matrix, pattern=pattern))
    torch.testing.assert_close(found, matrix, rtol=0, atol=1e-11 * float(matrix.abs().max()))
    assert not rebuild(factor(torch.zeros(16, 30), pattern=pattern)).any()


def test_an_inner_rank_beyond_the_blocks_is_lowered():
    factors = factor(random(4, 6), pattern=[(1, 4, 10, 1), (1, 10, 6, 1)])
    assert [tuple(each.shape) for each in factors] == [(1, 1, 4, 4), (1, 1, 4, 6)]


REFUSED = [
    (
        [(1, 2, 2, 2), (2, 3, 2, 1)],
        r"pattern: \(2, 3, 2, 1\) cannot follow \(1, 2, 2, 2\); neighbours must be chainable",
    ),
    ([(1, 2, 2, 2), (2, 2, 3, 1)], r"pattern: is of a matrix of shape \(4, 6\), got \(4, 4\)"),
    ([(1, 2, 2)], r"pattern: must be four whole numbers >= 1 for each factor, got \[\(1, 2, 2\)\]"),
]


@pytest.mark.parametrize(("pattern", "message"), REFUSED)
def test_a_pattern_that_does_not_fit_is_refused(pattern, message):
    with pytest.raises(ValueError, match=message):
        factor(random(4, 4), pattern=pattern)


def test_what_else_does_not_fit_is_refused():
    unknown: Any = "fly"
    with pytest.raises(ValueError, match=r"rank: must be 1 to 2 for shape \(4, 4\), got 3"):
        factor(random(4, 4), pattern=butterfly_pattern(4), rank=3)
    with pytest.raises(ValueError, match="n: must be a power of two, at least 2, got 12"):
        butterfly_pattern(12)
    with pytest.raises(ValueError, match="pattern: must be 'butterfly' or four numbers for each factor, got 'fly'"):
        factor(random(4, 4), pattern=unknown)
    with pytest.raises(ValueError, match="metric: is for real weights"):
        factor(random(4, 4).to(torch.complex64), pattern=butterfly_pattern(4), metric=diagonal(torch.ones(4)))


def test_many_axes_still_have_letters():
    """A butterfly of size 1024 with inner ranks: 29 letters, lower and upper case."""
    factors = factor(transform("hadamard", 1024), pattern=butterfly_pattern(1024), rank=2)
    letters = set("".join(kronecker_sparse.equation(factors).factors))
    assert len(letters) == 29
    huge = tuple(torch.empty(a, d, b, c, device="meta") for a, b, c, d in butterfly_pattern(2**27))
    with pytest.raises(ValueError, match="pattern: needs 54 letters in its equation, more than there are"):
        kronecker_sparse.equation(huge)


@pytest.mark.parametrize("shape", [(32, 32), (48, 32), (12, 90), (7, 5), (1, 6)])
def test_the_word_butterfly_is_a_pattern_of_any_shape(shape):
    matrix = random(*shape)
    factors = factor(matrix, pattern="butterfly")
    assert rebuild(factors).shape == shape
    planted_again = rebuild(factor(rebuild(factors), pattern="butterfly"))
    torch.testing.assert_close(planted_again, rebuild(factors), rtol=0, atol=1e-12)
    if shape == (32, 32):
        torch.testing.assert_close(rebuild(factor(matrix, pattern=butterfly_pattern(32))), rebuild(factors))
    if shape in ((7, 5), (1, 6)):  # nothing to divide
        torch.testing.assert_close(rebuild(factors), matrix)
