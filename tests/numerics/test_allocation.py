"""Levels within a budget, against every combination of small tables."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.numerics.allocation import choose

levels = st.lists(st.tuples(st.integers(0, 20), st.floats(0, 1)), min_size=1, max_size=4)


@given(items=st.lists(levels, min_size=1, max_size=4), share=st.floats(0, 1))
def test_it_finds_the_best_of_all_combinations(items, share):
    costs = [[cost for cost, _ in item] for item in items]
    damages = [[damage for _, damage in item] for item in items]
    least, most = sum(map(min, costs)), sum(map(max, costs))
    budget = int(least + share * (most - least))
    chosen = choose(costs, damages, budget)
    ways = itertools.product(*(range(len(item)) for item in items))
    best = min(total(damages, way) for way in ways if total(costs, way) <= budget)
    assert total(costs, chosen) <= budget
    assert total(damages, chosen) <= best + 1e-12


def total(tables, way):
    return sum(table[level] for table, level in zip(tables, way, strict=True))


def test_costs_that_are_no_whole_numbers_stay_within_the_budget():
    costs = [[0.1, 0.7], [0.3, 1.9]]
    assert total(costs, choose(costs, [[1.0, 0.0], [1.0, 0.0]], 1.0)) <= 1.0


def test_a_budget_below_the_least_is_refused():
    with pytest.raises(ValueError, match=r"budget: 1 is below .* 3"):
        choose([[2, 4], [1]], [[0.0, 1.0], [0.0]], 1)
