"""Sparse plus low rank: the error over the turns, planted matrices, and what each part is."""

from itertools import pairwise
from typing import Any

import pytest
import torch

from compressor.factorizations import diagonal, fisher, second_moment, sparse_plus_low_rank, svd
from compressor.numerics.metric import PLAIN


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def planted(seed, n_rows=40, n_columns=30):
    """Rank 2, and 60 large entries."""
    where = torch.rand(n_rows * n_columns, generator=torch.Generator().manual_seed(seed)).topk(60).indices
    sparse = torch.zeros(n_rows * n_columns, dtype=torch.float64)
    sparse[where] = 5 * random(60, seed=seed + 1).sign()
    return sparse.reshape(n_rows, n_columns) + random(n_rows, 2, seed=seed + 2) @ random(2, n_columns, seed=seed + 3)


@pytest.mark.parametrize("metric", [PLAIN, diagonal(random(12).abs()), fisher(random(18).abs())])
def test_the_error_never_rises(metric):
    weight = random(18, 12)
    errors = [
        metric.error(
            weight,
            sparse_plus_low_rank.rebuild(
                sparse_plus_low_rank.factor(weight, rank=(3, 40), metric=metric, n_iterations=n)
            ),
        )
        for n in range(1, 20)
    ]
    assert all(later <= earlier * (1 + 1e-12) for earlier, later in pairwise(errors))
    assert errors[-1] < 0.97 * errors[0]


def test_planted_matrices_are_recovered():
    found = 0
    for seed in range(8):
        weight = planted(seed)
        factors = sparse_plus_low_rank.factor(weight, rank=(2, 60), n_iterations=200)
        found += PLAIN.error(weight, sparse_plus_low_rank.rebuild(factors)) < 1e-8
    assert found >= 7


def test_it_is_better_than_either_part_alone_under_a_second_moment():
    weight, inputs = random(18, 12), random(90, 12, seed=5) @ random(12, 12, seed=6)
    metric = second_moment(inputs.T @ inputs / 90)
    both = sparse_plus_low_rank.factor(weight, rank=(3, 40), metric=metric)
    alone = svd.factor(weight, rank=3, metric=metric)
    assert metric.error(weight, sparse_plus_low_rank.rebuild(both)) < 0.9 * metric.error(weight, svd.rebuild(alone))
    assert int((both[0] != 0).sum()) == 40


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"rank": (9, 4)}, r"rank: must be 1 to 8 for shape \(8, 12\), got 9"),
    ({"rank": (2, 97)}, r"rank: must have 1 to 96 entries for shape \(8, 12\), got 97"),
    ({"rank": 3}, "rank: must be a rank and a number of entries that are not zero, got 3"),
    ({"rank": (1, 4), "n_iterations": 0}, "n_iterations: must be >= 1, got 0"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_what_does_not_fit_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        sparse_plus_low_rank.factor(random(8, 12), **arguments)
