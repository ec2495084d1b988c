"""Criteria: how much each unit of a width matters, one file each.

A criterion collects what it needs in a mapping of tensors, which a stage can save and resume, and makes one score per
unit of it.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from compressor.surgery import Width, layers
from compressor.surgery.widths import Cut

State = dict[str, Tensor]
"""What a criterion has collected, by names that start with `importance.`."""
Reads = Literal["weights", "forward", "backward", "training"]
AfterBackward = Callable[[], None]


class Criterion(Protocol):
    """The names that a file in this folder defines."""

    READS: Reads
    """What it needs: the weights alone, forward passes on calibration rows, backward passes too, or training."""
    NEEDS_LABELS: bool
    """Whether the rows must have labels."""
    OWN_ORDER: bool
    """Whether a score depends on the units that were removed before, so that only stage `prune` can use it."""
    TIMES_WEIGHTS: bool
    """Whether the score of a unit multiplies the norm of its column of weights, or stands alone."""
    DEGREE: int
    """2 if scores add up and compare with costs as losses do, being squares; 1 if their squares do."""

    def start(self, widths: Iterable[Width], seed: int) -> State:
        """Begin to collect: tensors that `watching` changes in place."""

    def watching(
        self, state: State, net: nn.Module, widths: Iterable[Width], *, goal: float
    ) -> AbstractContextManager[AfterBackward]:
        """While open, collect from the passes of a network.

        Parameters
        ----------
        state : dict of str to Tensor
            What `start` returned, or what was saved of it; changed in place.
        net : nn.Module
            The network that runs; its weights change only if `READS` is ``training``.
        widths : iterable of Width
            The widths whose units are judged.
        goal : float, 0 to 1
            Share of their units that will be removed after these passes.

        Returns
        -------
        context manager
            It gives a function to call after each backward pass, before gradients are cleared.
        """

    def scores(self, state: Mapping[str, Tensor], net: nn.Module, width: Width) -> Tensor:
        """Give the score of each unit of a width, at least 0; the units with the least ones go first.

        Returns
        -------
        Tensor of float64, shape (width.size,)
            On the CPU. Scores of different widths can be compared, if they are squared where `DEGREE` is 1.
        """


def key(width: Width) -> str:
    """Name under which one number per unit is collected."""
    return f"importance.{width.name}"


def zeros(widths: Iterable[Width]) -> State:
    """Start a sum for each unit of each width."""
    return {key(width): torch.zeros(width.size, dtype=torch.float64) for width in widths}


@torch.no_grad()
def weights_times_gradients(net: nn.Module, width: Width, cuts: Iterable[Cut]) -> Tensor:
    """Sum w dL/dw over the weights that each unit has in some layers, shape (width.size,), float64."""
    total = torch.zeros(width.size, dtype=torch.float64)
    for cut in cuts:
        weight = layers.slots(net, width, cut)[0]
        if weight.tensor.grad is not None:
            product = (weight.tensor * weight.tensor.grad).movedim(weight.axis, 0)
            total += layers.by_unit(product, width, cut).flatten(1).sum(dim=1).double().cpu()
    return total


def is_collected(state: Mapping[str, Tensor], widths: Iterable[Width]) -> bool:
    """Whether anything tells the units of these widths apart; in a dry run nothing does."""
    joined = torch.cat([state[key(width)] for width in widths])
    return bool((joined != joined[0]).any())
