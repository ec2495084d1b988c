"""Laws of the factorizations that are for tensors, or whose ranks are several."""

from itertools import pairwise
from typing import Any

import pytest
import torch

from compressor import factorizations
from compressor.factorizations import Factorization
from compressor.plugins import discover

FILES: dict[str, Any] = discover(factorizations, Factorization)
TENSOR, MATRIX, PAIRS = (4, 6, 5, 3), (24, 36), ((2, 3, 4), (3, 4, 3))


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def relative(file, factors, tensor):
    return float((file.rebuild(factors) - tensor).norm() / tensor.norm())


CLOSED: list[tuple[str, tuple[int, ...], list[tuple[int, ...]], dict[str, Any]]] = [  # with rising ranks, the last full
    ("tucker", TENSOR, [(1, 1, 1, 1), (2, 3, 2, 1), (3, 4, 4, 2), (4, 6, 5, 3)], {"n_iterations": 0}),
    ("tensor_train", TENSOR, [(1, 1, 1, 1, 1), (1, 2, 4, 2, 1), (1, 4, 9, 3, 1), (1, 4, 15, 3, 1)], {}),
    ("tensor_train_matrix", MATRIX, [(1, 1, 1, 1), (1, 3, 5, 1), (1, 6, 12, 1)], {"shape": PAIRS}),
]
every_closed_form = pytest.mark.parametrize(("name", "shape", "rising", "form"), CLOSED)


@every_closed_form
def test_the_error_falls_to_nothing_at_full_rank(name, shape, rising, form):
    file, tensor = FILES[name], random(*shape)
    errors = [relative(file, file.factor(tensor, rank=rank, **form), tensor) for rank in rising]
    assert all(later < earlier for earlier, later in pairwise(errors))
    assert errors[-1] < 1e-10


@every_closed_form
def test_what_was_factorized_is_found_again(name, shape, rising, form):
    file, rank = FILES[name], rising[1]
    planted = file.rebuild(file.factor(random(*shape), rank=rank, **form))
    assert relative(file, file.factor(planted, rank=rank, **form), planted) < 1e-10


@every_closed_form
def test_a_batch_is_many_at_once(name, shape, rising, form):
    file = FILES[name]
    batch = torch.stack([random(*shape, seed=seed) for seed in range(6)]).unflatten(0, (2, 3))
    together = file.rebuild(file.factor(batch.float(), rank=rising[1], **form))
    assert together.dtype == torch.float32
    for i in range(6):
        alone = file.rebuild(file.factor(batch[i // 3, i % 3], rank=rising[1], **form))
        torch.testing.assert_close(together[i // 3, i % 3], alone.float(), rtol=0, atol=1e-5)


def planted_cp(shape, rank, seed=0, noise=0.0):
    factors = tuple(random(size, rank, seed=100 * seed + i) for i, size in enumerate(shape))
    clean = FILES["cp"].rebuild(factors)
    more = random(*shape, seed=100 * seed + 99)
    return clean + noise * clean.norm() / more.norm() * more


def planted_ring(shape, rank, seed):
    cores = [random(*sizes, seed=100 * seed + i) for i, sizes in enumerate(zip(rank, shape, rank[1:], strict=False))]
    return FILES["tensor_ring"].rebuild(tuple(cores))


ITERATIVE: list[tuple[str, Any, Any, dict[str, Any]]] = [  # name, how to plant a tensor from a seed, rank, form
    ("cp", lambda seed: planted_cp((6, 7, 5), 4, seed), 4, {"n_iterations": 500}),
    ("tensor_ring", lambda seed: planted_ring((6, 6, 6, 6), (2,) * 5, seed), (2,) * 5, {"n_iterations": 500}),
]
every_iterative_method = pytest.mark.parametrize(("name", "plant", "rank", "form"), ITERATIVE)


@every_iterative_method
def test_more_iterations_never_raise_the_error(name, plant, rank, form):
    """Nor is any result worse than the start."""
    file, tensor = FILES[name], random(*plant(0).shape)
    options = [{**form, "n_iterations": n} for n in (0, 1, 2, 3, 5, 8, 20, 60)]
    errors = [relative(file, file.factor(tensor, rank=rank, **each), tensor) for each in options]
    assert all(later <= earlier * (1 + 1e-10) for earlier, later in pairwise(errors))
    assert errors[-1] < errors[0]


@every_iterative_method
def test_planted_tensors_are_recovered_from_most_seeds(name, plant, rank, form):
    file = FILES[name]
    errors = [relative(file, file.factor(plant(seed), rank=rank, **form), plant(seed)) for seed in range(6)]
    assert sum(error < 1e-8 for error in errors) >= 5, errors
