"""Levels within a budget, against every combination of small tables."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.numerics.knapsack import choose

levels = st.lists(st.tuples(st.floats(-1, 1), st.floats(0, 20)), min_size=1, max_size=4)
tables = st.lists(levels, min_size=1, max_size=4)
whole_levels = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=4)


@given(items=tables, share=st.floats(0, 1))
def test_no_combination_within_the_budget_does_less_damage(items, share):
    damage, cost = split(items)
    budget = within(cost, share)
    chosen = choose(damage, cost, budget)
    ways = itertools.product(*(range(len(item)) for item in items))
    best = min(total(damage, way) for way in ways if total(cost, way) <= budget)
    assert total(cost, chosen) <= budget * (1 + 1e-9)
    assert total(damage, chosen) <= best + 1e-9


@given(items=st.lists(whole_levels, min_size=1, max_size=4), share=st.floats(0, 1))
def test_of_equal_damages_the_cheaper_choice_is_taken(items, share):
    damage, cost = split(items)
    budget = within(cost, share)
    ways = itertools.product(*(range(len(item)) for item in items))
    best = min((total(damage, way), total(cost, way)) for way in ways if total(cost, way) <= budget)
    chosen = choose(damage, cost, budget)
    assert (total(damage, chosen), total(cost, chosen)) == best


@given(items=st.lists(levels, min_size=1, max_size=12), share=st.floats(0, 1), n_bins=st.integers(1, 5))
def test_few_bins_stay_within_the_budget(items, share, n_bins):
    damage, cost = split(items)
    budget = within(cost, share)
    assert total(cost, choose(damage, cost, budget, n_bins)) <= budget * (1 + 1e-9)


def test_many_items_come_close_to_the_best_by_a_lagrangian():
    cost = [[(7 * item + 3) % 11 + level * (item % 5 + 1) * 0.37 for level in range(12)] for item in range(24)]
    damage = [[(item % 7 + 1) * (11 - level) ** 2 / 100 for level in range(12)] for item in range(24)]
    budget = within(cost, 0.4)
    chosen = choose(damage, cost, budget)
    assert total(cost, chosen) <= budget
    assert total(damage, chosen) <= 1.01 * lower_bound(damage, cost, budget)


def test_a_budget_below_the_least_cost_is_refused_with_that_cost():
    with pytest.raises(ValueError, match=r"budget: 1 cannot be reached, the cheapest levels cost 3"):
        choose([[0.0, 0.0], [0.0]], [[2, 4], [1]], 1)


@pytest.mark.parametrize(
    ("damage", "cost", "complaint"),
    [
        ([[0.0, 1.0]], [[1.0]], "item 0: needs one cost for each damage, got 2 and 1"),
        ([[0.0], []], [[1.0], []], "item 1: needs one cost"),
        ([[float("nan")]], [[1.0]], "item 0: has a damage or a cost that is not finite"),
    ],
)
def test_tables_that_say_nothing_are_refused(damage, cost, complaint):
    with pytest.raises(ValueError, match=complaint):
        choose(damage, cost, 10)


def lower_bound(damage, cost, budget):
    """Largest value of the relaxed problem over many prices: no choice within the budget does less damage."""
    prices = [10 ** (exponent / 20) for exponent in range(-80, 40)]
    return max(
        sum(min(d + price * c for d, c in zip(*item, strict=True)) for item in zip(damage, cost, strict=True))
        - price * budget
        for price in prices
    )


def within(cost, share):
    least, most = (sum(map(extreme, cost)) for extreme in (min, max))
    return max(least + share * (most - least), least)


def split(items):
    return tuple([[pair[side] for pair in item] for item in items] for side in (0, 1))


def total(tables, way):
    return sum(table[level] for table, level in zip(tables, way, strict=True))
