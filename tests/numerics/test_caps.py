import math
from collections.abc import Callable

import pytest
import torch

from compressor.numerics import caps
from compressor.numerics.groups import split
from compressor.numerics.reductions import excess


def count_visits(monkeypatch):
    """A list that grows by the number of groups of every visit to all members."""
    visits: list[tuple[int, int]] = []

    def counting(groups, points):
        visits.append((groups.n_entries, groups.shape[-1]))
        return excess(groups, points)

    monkeypatch.setattr(caps, "excess", counting)
    return visits


def reaching(lengths):
    """How far the groups' sums are beyond their lengths, as `find_caps` asks."""
    return lambda sums, counts, held: sums - lengths


@pytest.mark.parametrize("shape", [(5, 7), (700, 30), (3000, 8), (2, 600, 9)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_each_group_holds_its_length(shape, dtype):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=dtype)
    groups = split(matrix, -1)
    held, _ = excess(groups, groups.zeros())
    for share in (1e-3, 0.1, 0.6, 0.99):
        lengths = share * held
        found = caps.find_caps(groups, reaching(lengths))
        kept, _ = excess(groups, found)
        torch.testing.assert_close(kept, lengths, rtol=1e-12 if dtype == torch.float64 else 2e-5, atol=0)


def test_a_group_that_holds_less_has_cap_zero():
    groups = split(torch.tensor([[1.0, 3.0], [1.0, 1.0]]), -1)
    found = caps.find_caps(groups, lambda sums, counts, held: sums - 3.0)
    assert found.tolist() == [0.0, 0.5]


def test_thresholds_shorten_to_the_length():
    groups = split(torch.tensor([[3.0, 1.0, 2.0], [-1.0, 0.0, 1.0]]), -1)
    lengths = torch.tensor([2.0, 0.0, math.inf], dtype=torch.float64)
    assert caps.thresholds(groups, lengths).tolist() == [1.0, math.inf, 0.0]


def test_thresholds_are_rounded_up():
    """Of float32 entries that are all alike, none is left with more than its share."""
    groups = split(torch.full((999, 1), 1 / 3), -1)
    threshold = caps.thresholds(groups, torch.tensor([1e-5], dtype=torch.float64))
    assert threshold.item() == float(threshold.float())
    assert 0 <= float(excess(groups, threshold)[0]) <= 1e-5


HARD: dict[str, Callable[[int], torch.Tensor]] = {
    "geometric": lambda n: 0.5 ** torch.arange(n),
    "harmonic": lambda n: 1 / torch.arange(1, n + 1),
    "steep": lambda n: torch.arange(1, n + 1).double() ** 10,
    "doubly exponential": lambda n: torch.exp(torch.exp(torch.arange(n) / (n / 6))),
    "ties": lambda n: torch.cat([torch.ones(n // 2), torch.full((n - n // 2 - 1,), 0.5), torch.tensor([100.0])]),
    "almost equal": lambda n: 1 - 1e-9 * torch.arange(n).double(),
    "zeros": torch.zeros,
}


@pytest.mark.parametrize("kind", HARD)
def test_few_visits_suffice(kind, monkeypatch):
    visits = count_visits(monkeypatch)
    members = HARD[kind](1000).double()
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(0))
    groups = split(torch.stack([members[order], members.flip(0)], dim=1), -1)
    for share in (1e-9, 1e-3, 0.1, 0.9, 1 - 1e-9):
        visits.clear()
        lengths = share * members.sum()
        caps.find_caps(groups, reaching(lengths))
        assert sum(n_entries == groups.n_entries for n_entries, _ in visits) <= 20


def test_a_group_at_rest_is_not_visited_again(monkeypatch):
    visits = count_visits(monkeypatch)
    matrix = torch.ones(100, 50, dtype=torch.float64)
    matrix[:, 7] = torch.linspace(0, 1, 100)
    caps.find_caps(split(matrix, -1), lambda sums, counts, held: sums - 5.0)
    assert visits[0] == (5000, 50)
    assert visits[-1] == (100, 1)


def test_nan_ends_the_search():
    matrix = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    matrix[2, 1] = math.nan
    found = caps.find_caps(split(matrix, -1), lambda sums, counts, held: sums - 1.0)
    assert found.isnan().tolist() == [False, True, False, False]
