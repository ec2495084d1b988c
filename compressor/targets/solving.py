"""The levels that do the least damage within the budgets of several points."""

import math
from collections.abc import Mapping, Sequence

from compressor.numerics.knapsack import choose
from compressor.targets.costs import Costs, Ratios

Damages = Mapping[str, Mapping[int, float]]
"""By the name of a width, and by the number of units that are left."""
N_WEIGHTINGS = 16  # of several points, tried until all are within their goals
STEP = 4.0  # how strongly the weight of a point follows how far it is above its goal
ROUNDING = 1e-9


def least_damage(damages: Damages, costs: Costs, goals: Ratios) -> dict[str, int]:
    """Choose the units of each width with the least total damage, within the goal of every point.

    With one point it is a knapsack. With several their costs, each over what its goal leaves, are added with weights,
    and the weights of the points that are above their goals rise until none is: the surrogate relaxation. As levels are
    steps, the goals are lowered as well, as long as a point is above its own.

    Parameters
    ----------
    damages : mapping of mapping of float
        Damage by the name of a width and its number of units.
    costs : Costs
        What the same levels cost.
    goals : mapping of float
        Largest cost at each point.

    Raises
    ------
    ValueError
        If the smallest levels are above the goal of a point.

    References
    ----------
    .. [1] F. Glover, "Surrogate constraint duality in mathematical programming", 1975, doi:10.1287/opre.23.3.434.
    """
    smallest = {name: min(own) for name, own in damages.items()}
    least = costs.predicted(smallest)
    point = max(goals, key=lambda each: least[each] / goals[each])
    if least[point] > goals[point] * (1 + ROUNDING):
        raise ValueError(
            f"{goals[point]:.3g} cannot be reached at {point}, the smallest levels give {least[point]:.3g}"
        )
    best, best_damage = smallest, math.inf
    weights, tightened = dict.fromkeys(goals, 1.0), 1.0
    for _ in range(N_WEIGHTINGS if len(goals) > 1 else 1):
        limits = {point: goal * tightened for point, goal in goals.items()}
        chosen = _weighted(damages, costs, limits, weights)
        excess = {point: cost / goals[point] for point, cost in costs.predicted(chosen).items()}
        worst, damage = max(excess.values()), sum(damages[name][n_units] for name, n_units in chosen.items())
        if worst <= 1 + ROUNDING and damage < best_damage:
            best, best_damage = chosen, damage
        tightened = tightened / worst if worst > 1 + ROUNDING else 1.0
        weights = {point: weight * math.exp(STEP * (excess[point] - worst)) for point, weight in weights.items()}
        largest = max(weights.values())
        weights = {point: weight / largest for point, weight in weights.items()}
    return best


def _weighted(damages: Damages, costs: Costs, goals: Ratios, weights: Ratios) -> dict[str, int]:
    """Solve one knapsack with weighted costs."""
    levels = {name: sorted(own) for name, own in damages.items()}
    total = sum(weights.values())
    shares = {point: weight / total / goals[point] for point, weight in weights.items()}
    tables: list[Sequence[float]] = []
    for name, own in levels.items():
        columns = {point: costs.of_levels(point, name, own) for point in shares}
        tables.append([sum(shares[point] * columns[point][k] for point in shares) for k in range(len(own))])
    asked = 1 - sum(shares[point] * costs.whole[point] for point in shares)
    budget = max(asked, sum(map(min, tables)))  # tightened goals may be below the smallest levels
    taken = choose([[damages[name][n] for n in own] for name, own in levels.items()], tables, budget)
    return {name: own[level] for (name, own), level in zip(levels.items(), taken, strict=True)}
