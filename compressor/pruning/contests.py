"""Units that compete to survive a projection onto a norm ball."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor import surgery
from compressor.balls import Ball
from compressor.surgery import Width


@dataclass(frozen=True)
class Contest:
    """Units that compete to survive: those of one width, or of all widths of a kind."""

    widths: tuple[Width, ...]
    sparsity: float | None
    """Fraction of the units to zero; None if the recipe gives a radius."""
    norm: float
    """Norm of their columns at the start of the stage."""


def sparsity_of(width: Width, target: float | Mapping[str, float] | None) -> float | None:
    """Give the sparsity of a width: that of the first pattern that matches it, if there are patterns."""
    if not isinstance(target, Mapping):
        return target
    for pattern, sparsity in target.items():
        if fnmatchcase(width.name, pattern):
            return sparsity
    raise ValueError(f"column_sparsity: no pattern matches the width {width.name!r}, got {', '.join(target)}")


def columns(net: nn.Module, widths: Sequence[Width], side: surgery.Side) -> Tensor:
    """Columns of all units of the widths; dead units are zero, short columns are padded with zeros."""
    matrices = []
    for width in widths:
        matrix = surgery.columns(net, width, side)
        matrices.append(matrix.masked_fill(surgery.dead_units(net, width), 0.0))
    n_rows = max(len(matrix) for matrix in matrices)
    return torch.cat([functional.pad(matrix, (0, 0, 0, n_rows - len(matrix))) for matrix in matrices], dim=1)


def survivors(
    matrix: Tensor, ball: Ball, radius: Callable[[Tensor], float | Tensor], floors: Sequence[tuple[slice, int]]
) -> tuple[Tensor, Tensor]:
    """Project; while a width has fewer live units than its minimum, set its best columns aside and project again.

    Parameters
    ----------
    matrix : Tensor, shape (n_rows, n_units)
        One column for each unit.
    ball : Ball
        Norm ball.
    radius : callable
        Gives the radius for the columns that are not set aside, from the mask of those that are.
    floors : sequence of (slice, int)
        The columns of each width, and the minimum number of live ones.

    Returns
    -------
    live : Tensor of bool, shape (n_units,)
    projected : Tensor, as ``matrix``
        Columns that were set aside are untouched.
    """
    aside = torch.zeros(matrix.shape[1], dtype=torch.bool)
    norms = ball.norm(matrix.T.unsqueeze(-1))
    while True:
        projected = matrix.clone()
        if aside.all():  # every width is as small as its minimum
            return aside, projected
        projected[:, ~aside] = ball.project(matrix[:, ~aside], radius(aside))
        live = projected.any(dim=0)
        too_few = [part for part, floor in floors if live[part].sum() < floor and not aside[part].any()]
        if not too_few:
            return live, projected
        for part, floor in floors:
            if part in too_few:
                aside[part.start + norms[part].topk(floor).indices] = True
