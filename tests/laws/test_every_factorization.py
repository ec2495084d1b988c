"""Laws that every file in compressor/factorizations obeys; a new one is found, but needs a case here."""

from typing import Any

import pytest
import torch

from compressor import factorizations
from compressor.factorizations import Factorization, diagonal, fisher, second_moment
from compressor.plugins import discover

FILES: dict[str, Any] = discover(factorizations, Factorization)
MATRIX, TENSOR = (24, 36), (4, 6, 5, 3)
CASES: dict[str, list[tuple[tuple[int, ...], dict[str, Any]]]] = {  # shapes with the arguments of their own
    "svd": [(MATRIX, {}), ((7, 1), {})],
}
SMALLEST: dict[str, tuple[int, ...]] = {}  # of methods whose rank is a tuple
CLOSED = {"svd": min}  # closed forms, with their full rank for a shape
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


@every_case
def test_factors_have_the_counted_numbers_and_rebuild_the_shape(name, shape, form):
    file, tensor = FILES[name], random(shape)
    rank = file.rank_for(shape, budget=1.0 if len(shape) == 2 and min(shape) > 1 else 2.0, **form)
    factors = file.factor(tensor, rank=rank, **form)
    assert sum(factor.numel() for factor in factors) == file.n_params(shape, rank=rank, **form)
    assert file.rebuild(factors).shape == tensor.shape
    torch.testing.assert_close(file.equation(factors).rebuild(factors), file.rebuild(factors))
    assert {factor.dtype for factor in factors} == {tensor.dtype}


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
        rebuilt = file.rebuild(file.factor(tensor, rank=CLOSED[name](shape), **form))
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
