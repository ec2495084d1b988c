"""Least squares in the norm of a metric, by conjugate gradients."""

from itertools import pairwise

import pytest
import torch

from compressor.factorizations import Equation, diagonal, fisher, second_moment, svd
from compressor.numerics.metric import Metric
from compressor.numerics.refit import matrix_shape, refit

PRODUCT = Equation((("ir", "rj"),), ("i", "j"))


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def moment(n, seed=3):
    inputs = random(4 * n, n, seed=seed) * torch.logspace(0, -1, n, dtype=torch.float64)
    return second_moment(inputs.T @ inputs / len(inputs))


@pytest.mark.parametrize("metric", [moment(9), diagonal(random(9).abs()), fisher(random(12).abs())])
def test_one_factor_is_the_solution_of_least_squares(metric):
    """Against a dense solver: the left factor, with the right one held."""
    weight, left, right = random(12, 9), random(12, 3, seed=1), random(3, 9, seed=2)
    found = refit([left], _Held(right), weight, metric, n_sweeps=1, n_steps=200)[0]
    read = Metric(right=metric.right)  # rows do not mix: their scales do not move the solution
    wanted = torch.linalg.lstsq(read.whiten(right).T, read.whiten(weight).T).solution.T
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-8)


class _Held:
    """The product with a right factor that stays."""

    axes, sparse = ("i", "j"), ()

    def __init__(self, right):
        self.right = right

    def rebuild(self, factors):
        return factors[0] @ self.right


def test_the_error_never_rises_and_nears_the_whitened_svd():
    weight, metric = random(24, 16), moment(16)
    factors = svd.factor(weight, rank=4)
    errors = [metric.error(weight, svd.rebuild(factors))]
    for _ in range(30):
        factors = refit(factors, PRODUCT, weight, metric, n_sweeps=1)
        errors.append(metric.error(weight, svd.rebuild(factors)))
    assert all(later <= earlier * (1 + 1e-12) for earlier, later in pairwise(errors))
    best = metric.error(weight, svd.rebuild(svd.factor(weight, rank=4, metric=metric)))
    assert errors[0] > best * 1.1
    assert errors[-1] <= best * 1.001


def test_an_exact_start_stays():
    left, right = random(6, 2), random(2, 5, seed=1)
    for found, given in zip(refit([left, right], PRODUCT, left @ right, moment(5)), (left, right), strict=True):
        torch.testing.assert_close(found, given, rtol=1e-9, atol=1e-9)


def test_each_tensor_of_a_batch_has_its_own_steps():
    weight, metric = random(3, 12, 9) * torch.tensor([1.0, 50.0, 0.02]).reshape(3, 1, 1), moment(9)
    together = svd.rebuild(refit(svd.factor(weight, rank=3), PRODUCT, weight, metric))
    for i in range(3):
        alone = svd.rebuild(refit(svd.factor(weight[i], rank=3), PRODUCT, weight[i], metric))
        assert metric.error(alone, together[i]) < 1e-4


def test_zeros_of_sparse_factors_stay():
    pattern = torch.rand(8, 6, generator=torch.Generator().manual_seed(0)) < 0.3
    form = Equation((("ij",), ("ir", "rj")), ("i", "j"), sparse=(0,))
    start = [random(8, 6) * pattern, random(8, 2, seed=1), random(2, 6, seed=2)]
    weight, metric = random(8, 6, seed=4), moment(6)
    found = refit(start, form, weight, metric)
    assert not (found[0][~pattern] != 0).any()
    assert metric.error(weight, form.rebuild(found)) < 0.8 * metric.error(weight, form.rebuild(start))


def test_terms_without_the_factor_are_left_out_of_its_problem():
    """A dense term beside a product: the first solve alone meets any weight."""
    form = Equation((("ij",), ("ir", "rj")), ("i", "j"))
    start = [random(8, 6), random(8, 2, seed=1), random(2, 6, seed=2)]
    weight, metric = random(8, 6, seed=4), moment(6)
    assert metric.error(weight, form.rebuild(refit(start, form, weight, metric, n_sweeps=1))) < 1e-8


def test_the_split_of_axes_follows_the_metric():
    assert matrix_shape((4, 6, 5, 3), moment(15)) == (24, 15)
    assert matrix_shape((4, 6, 5, 3), fisher(torch.ones(4))) == (4, 90)
    assert matrix_shape((4, 6), Metric()) == (24, 1)
    with pytest.raises(ValueError, match=r"metric: is for any rows and 7 columns, .* shape \(4, 6, 5, 3\)"):
        matrix_shape((4, 6, 5, 3), moment(7))
