"""Levels within the goals of several points, against every combination of small tables."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.targets.costs import Costs, Curve
from compressor.targets.solving import least_damage

LEVELS = (4, 3, 2, 1)
saved = st.lists(st.floats(0.01, 0.07), min_size=3, max_size=3).map(lambda steps: (0.0, *itertools.accumulate(steps)))
damage = st.lists(st.floats(0, 1), min_size=3, max_size=3).map(lambda steps: (0.0, *itertools.accumulate(steps)))
items = st.lists(st.tuples(damage, saved, saved), min_size=1, max_size=4)


def tables(items):
    damages = {str(i): dict(zip(LEVELS, own, strict=True)) for i, (own, _, _) in enumerate(items)}
    points = {"a": 1, "b": 2}
    curves = {
        point: {str(i): Curve(LEVELS, item[column]) for i, item in enumerate(items)} for point, column in points.items()
    }
    return damages, Costs(dict.fromkeys(points, 1.0), curves)


def combinations(damages, costs, goals):
    for levels in itertools.product(*(own for own in damages.values())):
        chosen = dict(zip(damages, levels, strict=True))
        if all(cost <= goals[point] for point, cost in costs.predicted(chosen).items()):
            yield sum(damages[name][level] for name, level in chosen.items())


@settings(deadline=None, max_examples=40)
@given(items=items, shares=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_all_goals_are_met_and_one_goal_with_the_least_damage(items, shares):
    damages, costs = tables(items)
    least = costs.predicted({name: 1 for name in damages})
    goals = {point: least[point] + share * (1 - least[point]) + 1e-6 for point, share in zip("ab", shares, strict=True)}
    chosen = least_damage(damages, costs, goals)
    assert all(cost <= goals[point] * (1 + 1e-6) for point, cost in costs.predicted(chosen).items())
    alone = Costs({"a": 1.0}, {"a": costs.curves["a"]})
    one = least_damage(damages, alone, {"a": goals["a"]})
    best = min(combinations(damages, alone, {"a": goals["a"] * (1 + 1e-9)}))
    assert sum(damages[name][level] for name, level in one.items()) <= best + 1e-9


def test_two_goals_cost_little_more_damage_than_the_best_choice():
    items = [
        (
            [i * level * level / 10 for level in range(4)],
            [0.05 * level for level in range(4)],
            [0.02 * (i + 1) * level for level in range(4)],
        )
        for i in range(1, 6)
    ]
    damages, costs = tables(items)
    for goals in ({"a": 0.7, "b": 0.8}, {"a": 0.9, "b": 0.6}, {"a": 0.6, "b": 0.7}):
        chosen = least_damage(damages, costs, goals)
        taken = sum(damages[name][level] for name, level in chosen.items())
        assert taken <= 1.2 * min(combinations(damages, costs, goals))


def test_goals_that_are_nearly_proportional_do_not_end_at_the_smallest_levels():
    """With large steps and nearly equal costs, no weights alone bring both points below their goals."""
    items = [
        ([4.0 * i, 2.0 * i, i, 0.0][::-1], [0.0, 0.1, 0.15, 0.19], [0.0, 0.0999, 0.1499, 0.19]) for i in range(1, 6)
    ]
    damages, costs = tables(items)
    for goal in (0.8, 0.7, 0.55, 0.4, 0.3):
        goals = {"a": goal, "b": goal}
        chosen = least_damage(damages, costs, goals)
        assert sum(damages[name][level] for name, level in chosen.items()) <= 1.3 * min(
            combinations(damages, costs, goals)
        )


def test_a_goal_below_the_smallest_levels_is_refused_with_what_they_give():
    damages, costs = tables([([0, 1, 2, 3], [0, 0.1, 0.2, 0.3], [0, 0.1, 0.2, 0.4])])
    with pytest.raises(ValueError, match=r"0\.5 cannot be reached at a, the smallest levels give 0\.7"):
        least_damage(damages, costs, {"a": 0.5, "b": 0.6})
