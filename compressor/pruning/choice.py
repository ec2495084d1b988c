"""Which units go: what each costs by a criterion, in which order they go, and how many of each width."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from compressor import surgery
from compressor.criteria import Criterion, State
from compressor.model import Model
from compressor.pruning import allocation, costs, scoring, table, update
from compressor.pruning.allocation import Kept
from compressor.pruning.replay import Batches
from compressor.surgery import Width, readers

Allocate = Literal["uniform", "score", "loss"]
Update = Literal["none", "least_squares"]
Levels = Mapping[str, Sequence[int]]
Damages = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Judgement:
    """What a criterion says of the units of widths."""

    widths: Sequence[Width]
    losses: Mapping[str, Tensor]
    """Of each unit of each width, what the loss grows by without it; -1 if it is dead."""

    @property
    def orders(self) -> dict[str, Tensor]:
        """Units of each width, those that go first in front."""
        return {name: own.argsort(stable=True) for name, own in self.losses.items()}

    @property
    def levels(self) -> dict[str, list[int]]:
        """Numbers of units that each width may keep, least first."""
        return {width.name: table.levels_of(width) for width in self.widths}


def judge(
    model: Model, widths: Sequence[Width], criterion: Criterion, name: str, state: State, batches: Batches
) -> Judgement:
    """Let a criterion collect from calibration rows, unless it did so in training, and ask it for its scores."""
    return Judgement(widths, scoring.losses(model, widths, criterion, name, state, batches))


def measured(
    model: Model, judgement: Judgement, how: Update, batches: Batches, judged: Batches
) -> dict[str, list[float]]:
    """Measure the damage of each level of each width; with the update that will be made if ``how`` says so."""
    solved_on = batches if how == "least_squares" else None
    return table.damages(model, judgement.widths, judgement.orders, solved_on, judged)


def kept_by_flops(
    model: Model, judgement: Judgement, share: float, allocate: Allocate, damages: Damages | None = None
) -> Kept:
    """Choose how many units each width keeps so that a share of the operations is left.

    ``damages`` are those of `measured`, for ``loss``.
    """
    if allocate == "uniform":
        return allocation.uniform(judgement.widths, share)
    price = costs.flops_per_unit(model, judgement.widths)
    budget = share * sum(price[width.name] * width.size for width in judgement.widths)
    if damages is None:
        return allocation.by_score(judgement.losses, price, budget)
    spent = {name: [price[name] * n_kept for n_kept in own] for name, own in judgement.levels.items()}
    return allocation.by_loss(judgement.levels, damages, spent, budget)


def cut_(model: Model, judgement: Judgement, kept: Kept, how: Update, batches: Batches) -> None:
    """Zero the units that go first, but for so many of each width, and solve for the weights of the consumers."""
    dense = model.copy() if how == "least_squares" else None
    for width in judgement.widths:
        gone = torch.zeros(width.size, dtype=torch.bool)
        gone[judgement.orders[width.name][: width.size - kept[width.name]]] = True
        surgery.zero_units_(model.net, width, gone)
    if dense is not None:
        update.refit_(model.net, dense.net, readers.names(judgement.widths), batches)
