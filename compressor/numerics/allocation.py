"""Spread a budget over items that can each have one of several levels."""

from collections.abc import Sequence

import numpy as np

N_CELLS = 20_000  # of the budget


def choose(costs: Sequence[Sequence[float]], damages: Sequence[Sequence[float]], budget: float) -> list[int]:
    """Choose the level of each item that gives the least total damage within a budget, by a dynamic programme.

    Parameters
    ----------
    costs : sequence of sequence of float, >= 0
        Of each item the cost of each of its levels.
    damages : sequence of sequence of float
        The same for damages.
    budget : float
        Largest sum of the costs.

    Returns
    -------
    list of int
        Of each item the index of its level.

    Raises
    ------
    ValueError
        If even the cheapest levels cost more than the budget.

    Notes
    -----
    Time O(n_levels N_CELLS) for all levels together. Exact for small whole numbers; other costs are rounded up to
    ``budget / N_CELLS``, so that the budget is never passed. The cheapest level of each item counts as it is.

    Examples
    --------
    >>> choose(costs=[[4, 1], [4, 1]], damages=[[0.0, 1.0], [0.0, 5.0]], budget=5)
    [1, 0]
    """
    least = [min(each) for each in costs]
    spare = budget - sum(least)
    if spare < -1e-9 * abs(budget):
        raise ValueError(f"budget: {budget:g} is below the least cost of all items, {sum(least):g}; raise it")
    is_whole = spare <= N_CELLS and all(float(cost).is_integer() for each in costs for cost in each)
    cell = 1.0 if is_whole else max(spare, 0.0) / N_CELLS
    n_cells_free = int(spare + 1e-9) if is_whole else N_CELLS
    best = np.zeros(n_cells_free + 1)
    taken = []
    for own_costs, own_damages, cheapest in zip(costs, damages, least, strict=True):
        extra = [_cells(cost - cheapest, cell) for cost in own_costs]
        options = np.full((len(extra), len(best)), np.inf)
        for level, (n_cells, damage) in enumerate(zip(extra, own_damages, strict=True)):
            if n_cells < len(best):
                options[level, n_cells:] = best[: len(best) - n_cells] + damage
        taken.append((options.argmin(axis=0), extra))
        best = options.min(axis=0)
    levels, left = [], n_cells_free
    for choice, extra in reversed(taken):
        level = int(choice[left])
        levels.append(level)
        left -= extra[level]
    return levels[::-1]


def _cells(cost: float, cell: float) -> int:
    if cost <= 0:
        return 0
    return int(np.ceil(cost / cell - 1e-9)) if cell else N_CELLS + 1
