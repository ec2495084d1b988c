"""The multiple-choice knapsack: one level for each item, with the least total damage within a budget."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]
ROUNDING = 1e-12  # of the budget: sums in another order differ by as much


def choose(
    damage: Sequence[Sequence[float]], cost: Sequence[Sequence[float]], budget: float, n_bins: int = 2000
) -> list[int]:
    """Choose the level of each item that gives the least total damage within a budget, by a dynamic programme.

    The items are taken in turn. Of the choices for those so far, only the ones that no other beats in both cost and
    damage are continued. With ``d[i][k]`` and ``c[i][k]`` for damage and cost it minimises ``sum_i d[i][k_i]`` subject
    to ``sum_i c[i][k_i] <= budget``.

    Parameters
    ----------
    damage : sequence of sequence of float
        Of each item the damage of each of its levels; a refit can make it negative.
    cost : sequence of sequence of float
        The same for costs.
    budget : float
        Largest sum of the costs.
    n_bins : int, >= 1
        If more choices remain than this, those whose costs share a bin are reduced to the least damage.

    Returns
    -------
    list of int
        Of each item the index of its level. Between choices of equal damage it is the cheaper one.

    Raises
    ------
    ValueError
        If even the cheapest levels cost more than the budget, the tables differ in shape, an item has no level, or an
        entry is not finite.

    Notes
    -----
    Time O(n_levels n_bins log n_bins) for all levels together. Exact while at most ``n_bins`` choices remain; beyond,
    each item can miss costs by one bin, the spread of the costs over ``n_bins``. The budget is never exceeded, up to
    rounding.

    References
    ----------
    .. [1] H. Kellerer, U. Pferschy, D. Pisinger, "Knapsack Problems", 2004, chapter 11.
    .. [2] E. Kurtic, E. Frantar, D. Alistarh, "ZipLM: Inference-Aware Structured Pruning of Language Models", 2023,
       arXiv:2302.04089.

    Examples
    --------
    >>> choose(damage=[[0.0, 1.0], [0.0, 5.0]], cost=[[4, 1], [4, 1]], budget=5)
    [1, 0]
    """
    items = [_item(*pair, index) for index, pair in enumerate(zip(damage, cost, strict=True))]
    least_after = [0.0, *np.cumsum([costs.min() for _, costs in reversed(items)])][::-1]
    most = budget + ROUNDING * abs(budget)
    if least_after[0] > most:
        raise ValueError(f"budget: {budget:g} cannot be reached, the cheapest levels cost {least_after[0]:g}; raise it")
    damages, costs = np.zeros(1), np.zeros(1)
    steps: list[tuple[Whole, Whole]] = []
    for (own_damages, own_costs), rest in zip(items, least_after[1:], strict=True):
        all_damages = (damages[:, None] + own_damages).ravel()
        all_costs = (costs[:, None] + own_costs).ravel()
        kept = _unbeaten(all_damages, all_costs, most - rest + ROUNDING * abs(rest))
        kept = _one_a_bin(kept, all_costs, n_bins)
        damages, costs = all_damages[kept], all_costs[kept]
        steps.append((kept // len(own_costs), kept % len(own_costs)))
    return _traced(steps, len(damages) - 1)


def _item(damages: Sequence[float], costs: Sequence[float], index: int) -> tuple[Floats, Floats]:
    both = np.asarray(damages, float), np.asarray(costs, float)
    if not len(both[0]) or both[0].shape != both[1].shape:
        raise ValueError(f"item {index}: needs one cost for each damage, got {len(both[0])} and {len(both[1])}")
    if not all(np.isfinite(values).all() for values in both):
        raise ValueError(f"item {index}: has a damage or a cost that is not finite")
    return both


def _unbeaten(damages: Floats, costs: Floats, most: float) -> Whole:
    """Select, by rising cost, the choices within ``most`` that no choice of at most their cost beats in damage."""
    order = np.lexsort((damages, costs))
    order = order[costs[order] <= most]
    best_before = np.minimum.accumulate(damages[order])
    is_better = np.concatenate(([True], damages[order][1:] < best_before[:-1]))
    return order[is_better]


def _one_a_bin(kept: Whole, costs: Floats, n_bins: int) -> Whole:
    """Reduce choices, by rising cost and falling damage, to the last one of each bin."""
    if len(kept) <= n_bins:
        return kept
    low, high = costs[kept[0]], costs[kept[-1]]
    bins = np.minimum((costs[kept] - low) / (high - low) * n_bins, n_bins - 1).astype(int)
    is_last = np.concatenate((bins[1:] != bins[:-1], [True]))
    return kept[is_last]


def _traced(steps: Sequence[tuple[Whole, Whole]], state: int) -> list[int]:
    """Follow the choice that was made last back to the first item."""
    levels = []
    for before, level in reversed(steps):
        levels.append(int(level[state]))
        state = int(before[state])
    return levels[::-1]
