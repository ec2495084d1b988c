"""How many units each width keeps within a budget."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from compressor.numerics.knapsack import choose
from compressor.surgery import Width

Kept = dict[str, int]
"""Number of units that are left of each width, by its name; at least one."""


def uniform(widths: Sequence[Width], share: float) -> Kept:
    """Leave the same share of each width."""
    return {width.name: max(1, round(share * width.size)) for width in widths}


def by_score(losses: Mapping[str, Tensor], costs: Mapping[str, float], budget: float) -> Kept:
    """Remove the units that cost the least loss for what they save, under one threshold for all widths.

    Parameters
    ----------
    losses : mapping of str to Tensor
        Of each unit of each width, what the loss grows by without it.
    costs : mapping of str to float
        What a unit of each width costs.
    budget : float
        Largest sum of the costs of the units that are left.

    Returns
    -------
    dict of str to int
        Number of units that are left of each width; the last one of a width always stays.

    Raises
    ------
    ValueError
        If one unit of each width costs more than the budget.
    """
    names = list(losses)
    least = sum(costs[name] for name in names)
    if least > budget:
        raise ValueError(too_small(least, budget))
    sizes = torch.tensor([len(losses[name]) for name in names])
    owner = torch.arange(len(names)).repeat_interleave(sizes)
    cost = torch.tensor([costs[name] for name in names], dtype=torch.float64)[owner]
    order = (torch.cat([losses[name] for name in names]) / cost).argsort(stable=True)
    kept, spent = sizes.tolist(), float(cost.sum())
    for unit in order.tolist():
        if spent <= budget:
            break
        at = int(owner[unit])
        if kept[at] > 1:
            kept[at] -= 1
            spent -= float(cost[unit])
    return dict(zip(names, kept, strict=True))


def by_loss(
    levels: Mapping[str, Sequence[int]],
    damages: Mapping[str, Sequence[float]],
    costs: Mapping[str, Sequence[float]],
    budget: float,
) -> Kept:
    """Choose the level of each width so that the damages have the least sum within a budget, of whatever kind.

    Parameters
    ----------
    levels : mapping of str to sequence of int
        Numbers of units that each width may keep, least first: of two levels that do the same damage, the first wins.
    damages, costs : mapping of str to sequence of float
        What each level does, and what it costs, in any unit.
    budget : float
        Largest sum of the costs.

    Raises
    ------
    ValueError
        If the least levels cost more than the budget.
    """
    names = list(levels)
    least = sum(min(costs[name]) for name in names)
    if least > budget:
        raise ValueError(too_small(least, budget))
    taken = choose([damages[name] for name in names], [costs[name] for name in names], budget)
    return {name: levels[name][level] for name, level in zip(names, taken, strict=True)}


def too_small(least: float, budget: float) -> str:
    """Say that no levels are within the budget."""
    return f"one unit of each width is already {least / budget:.3g} times what is to be left; lower column_sparsity"
