"""Closed forms against numpy, scipy, tensorly and brute force."""

import numpy as np
import pytest
import scipy.linalg
import torch

from compressor.factorizations import block_diagonal, interpolative, kronecker, monarch, second_moment, svd
from compressor.numerics.metric import Metric


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def moment(n, seed=3):
    inputs = random(4 * n, n, seed=seed) @ random(n, n, seed=seed + 1)
    return inputs.T @ inputs / len(inputs)


def gap(weight, file, factors):
    return float((weight - file.rebuild(factors)).norm())


def test_kronecker_is_the_sum_of_numpys_products_and_the_tail_of_the_rearranged_matrix():
    weight = random(12, 20)
    left, right = kronecker.factor(weight, rank=3, shape=(3, 4))
    total = sum(np.kron(left[i].numpy(), right[i].numpy()) for i in range(3))
    np.testing.assert_allclose(kronecker.rebuild((left, right)).numpy(), total, atol=1e-12)
    blocks = [weight.numpy()[4 * i : 4 * i + 4, 5 * j : 5 * j + 5].ravel() for i in range(3) for j in range(4)]
    tail = np.linalg.svd(np.array(blocks), compute_uv=False)[3:]
    assert gap(weight, kronecker, (left, right)) == pytest.approx(np.linalg.norm(tail), rel=1e-10)


def test_monarch_is_the_svd_of_each_block():
    weight = random(12, 20)
    factors = monarch.factor(weight, rank=2, blocks=(3, 4))
    assert [tuple(factor.shape) for factor in factors] == [(3, 4, 4, 2), (4, 3, 2, 5)]
    for p in range(3):
        for q in range(4):
            block = weight.numpy()[4 * p : 4 * p + 4, 5 * q : 5 * q + 5]
            left, values, right = np.linalg.svd(block, full_matrices=False)
            best = left[:, :2] * values[:2] @ right[:2]
            rebuilt = (factors[0][p, q] @ factors[1][q, p]).numpy()
            np.testing.assert_allclose(rebuilt, best, atol=1e-10)
            np.testing.assert_allclose(
                monarch.rebuild(factors).numpy()[4 * p : 4 * p + 4, 5 * q : 5 * q + 5], best, atol=1e-10
            )


def test_monarch_is_the_product_of_two_block_diagonal_matrices_around_a_permutation():
    left, right = monarch.factor(random(12, 20), rank=2, blocks=(3, 4))
    second = torch.block_diag(*right.reshape(4, 6, 5))  # of each block of inputs: outputs (p, r)
    first = torch.block_diag(*left.permute(0, 2, 1, 3).reshape(3, 4, 8))  # of each block of outputs: inputs (q, r)
    shuffled = second.reshape(4, 3, 2, 20).transpose(0, 1).reshape(24, 20)
    torch.testing.assert_close(first @ shuffled, monarch.rebuild((left, right)))


def test_monarch_is_exact_for_a_block_diagonal_second_moment_and_for_one_block_of_inputs():
    weight = random(12, 20)
    moments = [moment(5, seed) for seed in range(4)]
    divided = second_moment(torch.block_diag(*moments))
    found = divided.error(weight, monarch.rebuild(monarch.factor(weight, rank=2, blocks=(3, 4), metric=divided)))
    whitened = torch.cat([second_moment(own).whiten(weight[:, 5 * q : 5 * q + 5]) for q, own in enumerate(moments)], 1)
    tails = [torch.linalg.svdvals(part)[2:] for part in parts(whitened, 4, 5)]
    assert found == pytest.approx(float(torch.cat(tails).norm() / whitened.norm()), rel=1e-6)
    whole = second_moment(moment(20))
    found = whole.error(weight, monarch.rebuild(monarch.factor(weight, rank=2, blocks=(3, 1), metric=whole)))
    tails = [torch.linalg.svdvals(part)[2:] for part in parts(whole.whiten(weight), 4, 20)]
    assert found == pytest.approx(float(torch.cat(tails).norm() / whole.whiten(weight).norm()), rel=1e-6)


def parts(matrix, n_rows, n_columns):
    return [block for rows in matrix.split(n_rows) for block in rows.split(n_columns, dim=1)]


def test_interpolative_is_the_truncated_svd_with_columns_of_its_own():
    """For every metric; scipy's pivots span the same columns."""
    weight = random(18, 12)
    for metric in (None, second_moment(moment(12))):
        factors = interpolative.factor(weight, rank=5, metric=metric)
        nearest = svd.rebuild(svd.factor(weight, rank=5, metric=metric))
        torch.testing.assert_close(interpolative.rebuild(factors), nearest, rtol=0, atol=1e-9)
        columns, coefficients, kept = factors
        torch.testing.assert_close(columns, nearest[:, kept], rtol=0, atol=1e-9)
        assert interpolative.n_params(weight.shape, rank=5) == columns.numel() + coefficients.numel() + kept.numel()
    assert len(set(kept.tolist())) == 5
    rows = np.linalg.svd(weight.numpy())[2][:5]
    plain = interpolative.factor(weight, rank=5)
    assert plain[2].tolist() == sorted(scipy.linalg.qr(rows, pivoting=True, mode="r")[1][:5])
    assert float(plain[1].abs().max()) < 5


def test_interpolative_of_a_matrix_of_lower_rank():
    weight = random(18, 2) @ random(2, 12, seed=1)
    rebuilt = interpolative.rebuild(interpolative.factor(weight, rank=6))
    torch.testing.assert_close(rebuilt, weight, rtol=0, atol=1e-11)


@pytest.mark.parametrize("metric", [second_moment(moment(6)), Metric(left=random(9).abs())])
def test_block_diagonal_is_the_least_squares_solution(metric):
    """Every row by numpy's solver, from the columns of its block."""
    weight = random(9, 6)
    (blocks,) = block_diagonal.factor(weight, rank=1, metric=metric)
    spread = np.eye(6) if metric.right is None else metric.right.numpy()
    for i in range(9):
        own = slice(2 * (i // 3), 2 * (i // 3) + 2)
        wanted = np.linalg.lstsq(spread[own].T, spread.T @ weight.numpy()[i], rcond=None)[0]
        np.testing.assert_allclose(blocks[i // 3, i % 3].numpy(), wanted, atol=1e-8)


def test_block_diagonal_alone_keeps_the_entries_of_the_blocks():
    weight = random(8, 12)
    blocks = block_diagonal.factor(weight, rank=2)[0]
    expected = scipy.linalg.block_diag(weight[:4, :6].numpy(), weight[4:, 6:].numpy())
    np.testing.assert_array_equal(block_diagonal.rebuild((blocks,)).numpy(), expected)


def test_what_does_not_fit_is_refused():
    weight = random(8, 12)
    with pytest.raises(ValueError, match=r"shape: must be two divisors of the matrix's 8, 12, got \(3, 4\)"):
        kronecker.factor(weight, rank=1, shape=(3, 4))
    with pytest.raises(ValueError, match=r"rank: must be 1 to 6 for shape \(8, 12\), got 7"):
        kronecker.factor(weight, rank=7, shape=(2, 3))
    with pytest.raises(ValueError, match=r"blocks: must be two divisors of the matrix's 8, 12, got \(4, 5\)"):
        monarch.factor(weight, rank=1, blocks=(4, 5))
    with pytest.raises(ValueError, match=r"rank: must divide 4, the common divisor of shape \(8, 12\), got 3"):
        block_diagonal.factor(weight, rank=3)
    for file in (block_diagonal, interpolative):
        with pytest.raises(ValueError, match=r"rank: must be 1 to \d for shape \(8, 12\), got 0"):
            file.factor(weight, rank=0)
