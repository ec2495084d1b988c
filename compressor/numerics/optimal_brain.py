"""Which inputs of a linear map can go, one after another, if the weights of the others make up for them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

N_BLOCKS = 96  # in which the units go; within a block the costs of the candidates alone are exact
N_CANDIDATES = 4  # times the size of a block


@dataclass
class Problem:
    """A linear map whose inputs are to go, and the moments of what it reads."""

    weights: Tensor
    """Shape (n_inputs, n_outputs), float64."""
    moments: Tensor
    """Sum or mean of x x^T, shape (n_inputs, n_inputs), float64; centred if the map has a bias, which makes up too."""
    units: Tensor
    """Inputs of each unit, shape (n_units, n_inputs_each)."""


def removal_costs(problems: Sequence[Problem], damping: float) -> Tensor:
    """Remove units in the order in which they cost least, and return what each cost when it went.

    The cost of a unit is the growth of the squared error of the outputs, where the weights of the units that are left
    are the best ones: after each removal they are updated in closed form.

    Parameters
    ----------
    problems : sequence of Problem
        Maps that read the same units; their costs add up.
    damping : float, > 0
        Added to the diagonal of the moments, as a share of its mean.

    Returns
    -------
    Tensor of float64, shape (n_units,)
        Strictly increasing in the order of removal.

    Notes
    -----
    Time O(n_inputs^3) for each map. In each block of units the cheapest `N_CANDIDATES` times as many are compared
    exactly, among themselves; so of two equal units only one goes.

    References
    ----------
    .. [1] B. Hassibi, D. Stork, "Second order derivatives for network pruning: optimal brain surgeon", 1992, Advances
       in Neural Information Processing Systems 5.
    .. [2] E. Kurtic, E. Frantar, D. Alistarh, "ZipLM: inference-aware structured pruning of language models", 2023,
       arXiv:2302.04089, equations 2 and 3.

    Examples
    --------
    The first two inputs are always equal, so one of them goes for nothing, and the third costs most:

    >>> moments = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    >>> weights = torch.tensor([[1.0], [1.0], [3.0]], dtype=torch.float64)
    >>> problem = Problem(weights, moments, torch.tensor([[0], [1], [2]]))
    >>> removal_costs([problem], damping=1e-9).sort().values.round(decimals=3).tolist()
    [0.0, 4.0, 9.0]
    """
    n_units = len(problems[0].units)
    states = [_State(problem, damping) for problem in problems]
    alive, order, costs = torch.arange(n_units), list[int](), list[float]()
    size = max(1, n_units // N_BLOCKS)
    while len(alive):
        candidates = _cheapest(states, N_CANDIDATES * size)
        gone, own = _in_turn([state.part(candidates) for state in states], min(size, len(alive)))
        for state in states:
            state.remove_(candidates[gone])
        order += alive[candidates[gone]].tolist()
        costs += own
        left = torch.ones(len(alive), dtype=torch.bool)
        left[candidates[gone]] = False
        alive = alive[left]
    increasing = torch.tensor(costs, dtype=torch.float64).clamp(min=0).cummax(dim=0).values
    increasing += torch.arange(n_units) * 1e-12 * increasing.mean().clamp(min=1e-300)
    return torch.empty(n_units, dtype=torch.float64).scatter(0, torch.tensor(order), increasing)


class _State:
    """A problem with the inputs that are left: their weights, the inverse of their moments, and their units."""

    def __init__(self, problem: Problem, damping: float | None) -> None:
        self.weights, self.units = problem.weights, problem.units
        self.inverse = problem.moments if damping is None else _damped_inverse(problem.moments, damping)

    def part(self, units: Tensor) -> "_State":
        """Copy the entries of some units."""
        own = self.units[units]
        flat = own.flatten()
        inside = torch.arange(len(flat)).view_as(own)
        return _State(Problem(self.weights[flat], self.inverse[flat[:, None], flat], inside), None)

    def costs(self) -> Tensor:
        """Compute the cost of each unit if it is next: tr(W^T B^-1 W) of its weights and its block of the inverse."""
        own = self.weights[self.units]
        if self.units.shape[1] == 1:
            return own.square().sum(dim=(1, 2)) / self.inverse.diagonal()[self.units.flatten()]
        blocks = self.inverse[self.units[:, :, None], self.units[:, None, :]]
        costs: Tensor = (own * torch.linalg.solve(blocks, own)).sum(dim=(1, 2))
        return costs

    def update_(self, unit: Tensor) -> None:
        """Remove units from the weights and the inverse, and leave their entries as they are: zero from then on."""
        own = self.units[unit].flatten()
        share = torch.linalg.solve(self.inverse[own[:, None], own], self.inverse[own])
        columns = self.inverse[:, own]
        self.weights = self.weights - columns @ torch.linalg.solve(self.inverse[own[:, None], own], self.weights[own])
        self.inverse = self.inverse - columns @ share

    def remove_(self, units: Tensor) -> None:
        """Remove units, and forget their entries."""
        self.update_(units)
        left = torch.ones(len(self.weights), dtype=torch.bool)
        left[self.units[units].flatten()] = False
        is_unit_left = torch.ones(len(self.units), dtype=torch.bool)
        is_unit_left[units] = False
        moved = left.cumsum(dim=0) - 1
        self.units = moved[self.units[is_unit_left]]
        self.weights, self.inverse = self.weights[left], self.inverse[left][:, left]


def _damped_inverse(moments: Tensor, damping: float) -> Tensor:
    level = float(moments.diagonal().mean()) or 1.0
    damped = moments + damping * level * torch.eye(len(moments), dtype=moments.dtype)
    return torch.cholesky_inverse(torch.linalg.cholesky(damped))


def _cheapest(states: Sequence[_State], n_candidates: int) -> Tensor:
    """Positions of the units that cost least among those that are left."""
    costs = torch.stack([state.costs() for state in states]).sum(dim=0)
    return costs.argsort(stable=True)[:n_candidates]


def _in_turn(states: Sequence[_State], n_gone: int) -> tuple[Tensor, list[float]]:
    """Remove units one after another from small problems, and give their positions and costs."""
    gone, paid = list[int](), list[float]()
    left = torch.arange(len(states[0].units))
    for _ in range(n_gone):
        costs = torch.stack([state.costs() for state in states]).sum(dim=0)
        at = int(costs.argmin())
        paid.append(float(costs[at]))
        gone.append(int(left[at]))
        for state in states:
            state.remove_(torch.tensor([at]))
        left = torch.cat([left[:at], left[at + 1 :]])
    return torch.tensor(gone), paid
