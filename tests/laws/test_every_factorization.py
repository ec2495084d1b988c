"""Laws that every file in compressor/factorizations obeys; a new one is found, but needs a case here."""

from itertools import pairwise
from math import gcd, prod
from typing import Any

import pytest
import torch
from torch import nn

from compressor import factorizations
from compressor.factorizations import Factorization, Rank, diagonal, fisher, kronecker_sparse, second_moment
from compressor.nn import FactorizedConv2d, FactorizedLinear
from compressor.numerics.divisors import deformable_pattern
from compressor.plugins import discover

FILES: dict[str, Any] = discover(factorizations, Factorization)
MATRIX, TENSOR = (24, 36), (4, 6, 5, 3)
CASES: dict[str, list[tuple[tuple[int, ...], dict[str, Any]]]] = {  # shapes with the arguments of their own
    "block_term": [(TENSOR, {}), (TENSOR, {"terms": 3}), ((9, 2, 4, 2), {"terms": 1})],
    "block_diagonal": [(MATRIX, {}), ((8, 8), {}), ((7, 3), {})],
    "interpolative": [(MATRIX, {}), ((36, 24), {}), ((7, 1), {})],
    "kronecker": [(MATRIX, {"shape": (4, 9)}), (MATRIX, {"shape": (6, 6)}), ((7, 3), {"shape": (1, 3)})],
    "kronecker_sparse": [
        (MATRIX, {"pattern": [(1, 4, 3, 6), (3, 6, 12, 1)]}),
        (MATRIX, {"pattern": [(1, 4, 3, 6), (3, 2, 4, 3), (12, 3, 3, 1)]}),
        ((32, 32), {"pattern": kronecker_sparse.butterfly_pattern(32)}),
        ((32, 48), {"pattern": "butterfly"}),
    ],
    "monarch": [(MATRIX, {"blocks": (2, 3)}), (MATRIX, {"blocks": (1, 4)}), (MATRIX, {"blocks": (1, 1)})],
    "product_of_sparse": [(MATRIX, {}), ((36, 24), {"n_factors": 3}), ((9, 5), {})],
    "sparse_plus_low_rank": [(MATRIX, {}), ((9, 5), {})],
    "cp": [(TENSOR, {}), ((9, 2, 4), {})],
    "spatial_svd": [((6, 5, 3, 3), {}), ((4, 7, 1, 5), {})],
    "svd": [(MATRIX, {}), ((7, 1), {})],
    "tensor_ring": [(TENSOR, {}), ((9, 2, 4, 2), {})],
    "tensor_train": [(TENSOR, {}), ((1, 9, 2, 7), {})],
    "tensor_train_matrix": [(MATRIX, {"shape": ((2, 3, 4), (3, 4, 3))}), (MATRIX, {"shape": ((24, 1, 1), (1, 4, 9))})],
    "tt_to_cp": [(TENSOR, {}), ((9, 2, 4), {})],
    "tucker": [(TENSOR, {}), ((30, 2, 3, 1), {})],
}
SMALLEST: dict[str, Rank] = {  # of methods whose rank is a tuple, or a number of entries
    "block_term": (1,) * 4,
    "product_of_sparse": 3,
    "sparse_plus_low_rank": (1, 1),
    "tensor_ring": (1,) * 5,
    "tensor_train": (1,) * 5,
    "tensor_train_matrix": (1,) * 4,
    "tucker": (1,) * 4,
}


def full_rank(pattern):
    """Largest of the ranks of the blocks at each split, for inner ranks of one: their rows or columns, if fewer."""
    pattern = deformable_pattern((32, 48)) if pattern == "butterfly" else pattern
    splits = range(1, len(pattern))
    return max(min(prod(b for _, b, *_ in pattern[:at]), prod(c for *_, c, _ in pattern[at:])) for at in splits)


CLOSED: dict[str, Any] = {  # closed forms, with their full rank for a shape and their arguments
    "block_diagonal": lambda sizes: gcd(*sizes),
    "interpolative": min,
    "kronecker": lambda sizes, shape: min(prod(shape), prod(sizes) // prod(shape)),
    "kronecker_sparse": lambda sizes, pattern: full_rank(pattern),
    "monarch": lambda sizes, blocks: min(sizes[0] // blocks[0], sizes[1] // blocks[1]),
    "svd": min,
}


@pytest.mark.parametrize("sizes", [MATRIX, (48, 16), (7, 13)])
@pytest.mark.parametrize(
    "file", [file for file in FILES.values() if file.TAKES == "matrix"], ids=lambda file: file.__name__
)
def test_the_default_form_fits_every_matrix(file, sizes):
    form = factorizations.default_form(file, sizes)
    rank = file.rank_for(sizes, budget=2.0, **form)  # a prime size leaves no small factors
    factors = file.factor(torch.randn(sizes, generator=torch.Generator().manual_seed(0)), rank=rank, **form)
    assert file.rebuild(factors).shape == sizes
    assert file.n_params(sizes, rank=rank, **form) <= 2 * prod(sizes)


every_case = pytest.mark.parametrize(
    ("name", "shape", "form"), [(name, *case) for name, cases in CASES.items() for case in cases]
)


def random(shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_every_file_has_a_case():
    assert set(CASES) == set(FILES)


@every_case
@pytest.mark.parametrize("budget", [0.3, 0.5, 0.9])
def test_a_budget_is_never_passed_and_at_most_one_step_of_rank_is_left(name, shape, form, budget):
    """Or the method says that the budget is below its smallest rank."""
    file, most = FILES[name], budget * torch.Size(shape).numel()
    if file.n_params(shape, rank=SMALLEST.get(name, 1), **form) > most:
        with pytest.raises(ValueError, match="budget"):
            file.rank_for(shape, budget=budget, **form)
        return
    rank = file.rank_for(shape, budget=budget, **form)
    assert file.n_params(shape, rank=rank, **form) <= most
    for larger in steps(rank):
        assert file.n_params(shape, rank=larger, **form) > most or not fits(file, shape, larger, form)


def steps(rank):
    """The next larger ranks: each inner size plus one."""
    if isinstance(rank, int):
        return [rank + 1]
    return [(*rank[:i], rank[i] + 1, *rank[i + 1 :]) for i in range(len(rank))]


def fits(file, shape, rank, form):
    try:
        file.factor(random(shape), rank=rank, **form)
    except ValueError:
        return False
    return True


def n_numbers(file, factors):
    """Numbers in the factors; of a sparse one those that are not zero, and an index for each."""
    sparse = file.equation(factors).sparse
    return sum(2 * int((factor != 0).sum()) if i in sparse else factor.numel() for i, factor in enumerate(factors))


@every_case
def test_factors_have_the_counted_numbers_and_rebuild_the_shape(name, shape, form):
    file, tensor = FILES[name], random(shape)
    rank = file.rank_for(shape, budget=1.0 if len(shape) == 2 and min(shape) > 1 else 2.0, **form)
    factors = file.factor(tensor, rank=rank, **form)
    assert n_numbers(file, factors) == file.n_params(shape, rank=rank, **form)
    assert file.rebuild(factors).shape == tensor.shape
    operands = factorizations.expanded(file, factors)
    torch.testing.assert_close(file.equation(factors).rebuild(operands), file.rebuild(factors))
    assert {factor.dtype for factor in factors} <= {tensor.dtype, torch.int64}  # indices


@every_case
def test_a_rank_of_zero_and_nan_are_refused(name, shape, form):
    file = FILES[name]
    with pytest.raises(ValueError, match="finite"):
        file.factor(random(shape) * float("nan"), rank=file.rank_for(shape, budget=2.0, **form), **form)
    with pytest.raises(ValueError, match="budget"):
        file.rank_for(shape, budget=0.0, **form)


@pytest.mark.parametrize("name", CLOSED)
def test_the_full_rank_is_exact(name):
    for shape, form in CASES[name]:
        file, tensor = FILES[name], random(shape)
        rebuilt = file.rebuild(file.factor(tensor, rank=CLOSED[name](shape, **form), **form))
        torch.testing.assert_close(rebuilt, tensor, rtol=0, atol=1e-10 * float(tensor.norm()))


@pytest.mark.parametrize("metric", ["moment", "diagonal", "fisher"])
def test_the_whitened_svd_is_the_best_of_its_rank_under_each_metric(metric):
    """Against the tail of the singular values of the whitened matrix, in numpy's own arithmetic."""
    weight, inputs = random(MATRIX), random((200, MATRIX[1]), seed=1) @ random((MATRIX[1],) * 2, seed=2)
    made = {
        "moment": second_moment(inputs.T @ inputs / len(inputs)),
        "diagonal": diagonal(inputs.abs().mean(dim=0)),
        "fisher": fisher(random(MATRIX[:1], seed=3).square()),
    }[metric]
    factors = FILES["svd"].factor(weight, rank=9, metric=made)
    values = torch.linalg.svdvals(made.whiten(weight))
    best = float(values[9:].norm() / values.norm())
    assert made.error(weight, FILES["svd"].rebuild(factors)) == pytest.approx(best, rel=1e-6)
    if metric == "moment":  # the norm is that of the layer's outputs
        gap = ((FILES["svd"].rebuild(factors) - weight) @ inputs.T).norm() / (weight @ inputs.T).norm()
        assert float(gap) == pytest.approx(best, rel=1e-6)


closed_cases = pytest.mark.parametrize(
    ("name", "shape", "form"), [(name, *case) for name in CLOSED for case in CASES[name]]
)


@closed_cases
def test_the_error_of_a_closed_form_falls_with_the_rank(name, shape, form):
    file, tensor, most = FILES[name], random(shape), CLOSED[name](shape, **form)
    fitting = [rank for rank in range(1, most + 1) if fits(file, shape, rank, form)]
    errors = [float((file.rebuild(file.factor(tensor, rank=rank, **form)) - tensor).norm()) for rank in fitting]
    assert all(later < earlier for earlier, later in pairwise(errors))


@closed_cases
def test_what_was_factorized_is_found_again(name, shape, form):
    file, rank = FILES[name], 1
    planted = file.rebuild(file.factor(random(shape), rank=rank, **form))
    found = file.rebuild(file.factor(planted, rank=rank, **form))
    torch.testing.assert_close(found, planted, rtol=0, atol=1e-10 * float(planted.norm()))


@closed_cases
def test_a_batch_is_many_at_once(name, shape, form):
    """Also in single precision: computed in double, given back in the dtype of the weights."""
    file = FILES[name]
    batch = torch.stack([random(shape, seed) for seed in range(6)]).unflatten(0, (2, 3))
    rebuilt = file.rebuild(file.factor(batch, rank=1, **form))
    single = file.rebuild(file.factor(batch.float(), rank=1, **form))
    assert single.dtype == torch.float32
    torch.testing.assert_close(single, rebuilt.float(), rtol=0, atol=1e-5 * float(batch.abs().max()))
    for i in range(6):
        alone = file.rebuild(file.factor(batch[i // 3, i % 3], rank=1, **form))
        torch.testing.assert_close(rebuilt[i // 3, i % 3], alone, rtol=0, atol=1e-10)


def metrics(shape):
    inputs = random((200, shape[1]), seed=1) @ random((shape[1],) * 2, seed=2)
    return {
        "moment": second_moment(inputs.T @ inputs / len(inputs)),
        "diagonal": diagonal(inputs.abs().mean(dim=0)),
        "fisher": fisher(random(shape[:1], seed=3).square()),
    }


@every_case
@pytest.mark.parametrize("metric", ["moment", "diagonal", "fisher"])
def test_a_metric_lowers_the_error_in_its_norm(name, shape, form, metric):
    file, weight = FILES[name], random(shape)
    if len(shape) == 2:
        own, rank = metrics(shape)[metric], SMALLEST.get(name, 1)
        if name == "product_of_sparse":  # which three entries are best, is luck
            rank = prod(shape) // 4
        plain, fitted = (file.factor(weight, rank=rank, metric=each, **form) for each in (None, own))
        assert own.error(weight, file.rebuild(fitted)) <= own.error(weight, file.rebuild(plain)) * (1 + 1e-9) + 1e-12
        assert {factor.dtype for factor in fitted} == {factor.dtype for factor in plain}


KERNELS = [name for name, file in FILES.items() if hasattr(file, "factor_kernel")]


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("shape", [(8, 6, 3, 3), (5, 9, 1, 1), (3, 4, 5, 2)])
@pytest.mark.parametrize("budget", [0.4, 0.8])
def test_a_kernel_becomes_a_chain_of_convolutions_within_its_budget(name, shape, budget):
    file, kernel = factorizations.for_kernels(name), random(shape)
    if not affordable(file, shape, budget):
        pytest.skip("rank 1 is above the budget")
    rank = file.kernel_rank_for(shape, budget=budget)
    equation, factors = file.factor_kernel(kernel, rank=rank)
    dense = nn.Conv2d(shape[1], shape[0], shape[2:], padding=1, bias=False).double()
    layer = FactorizedConv2d.of(name, equation, factors, dense)
    dense.weight.data = equation.rebuild(factors)
    assert (
        sum(factor.numel() for factor in factors) == file.kernel_n_params(shape, rank=rank) <= budget * kernel.numel()
    )
    assert float((equation.rebuild(factors) - kernel).norm()) < float(kernel.norm())
    images = random((2, shape[1], 7, 8))
    torch.testing.assert_close(layer(images), dense(images))


def affordable(file, shape, budget):
    try:
        file.kernel_rank_for(shape, budget=budget)
    except ValueError as error:
        return "budget" not in str(error)
    return True


def test_a_method_for_matrices_is_refused_for_convolutions():
    with pytest.raises(ValueError, match="'monarch' is not for convolutions; choose from cp, spatial_svd, svd"):
        factorizations.for_kernels("monarch")


@every_case
def test_a_layer_computes_the_rebuilt_weight(name, shape, form):
    file = FILES[name]
    if len(shape) == 2:
        factors = file.factor(random(shape), rank=SMALLEST.get(name, 1), **form)
        layer = FactorizedLinear.of(name, file.equation(factors), factorizations.expanded(file, factors))
        inputs = random((5, shape[1]), seed=1)
        expected = inputs @ file.rebuild(factors).T
        torch.testing.assert_close(layer(inputs), expected, rtol=0, atol=1e-12 * float(expected.norm()))
