"""Positions of the units of traced widths in the parameters: when they were traced, and after cuts."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from torch import nn

from compressor.surgery.tracing.links import Entries
from compressor.surgery.widths import Cut, Width

Axis = tuple[str, int]
"""Name of a parameter or buffer, and one of its axes."""


@dataclass(frozen=True)
class Placed:
    """A width, and the axis of each of its cuts."""

    width: Width
    axes: Mapping[Cut, Axis]


def layout(entries: Entries) -> tuple[int, int, int] | None:
    """Describe the entries of units, one row per unit, as block, offset, repeat of a `Cut`; None if none fits.

    Examples
    --------
    >>> layout(np.array([[4, 5, 10, 11], [6, 7, 12, 13], [8, 9, 14, 15]]))
    (2, 4, 2)
    """
    n_units, n_entries = entries.shape
    offset = int(entries[0, 0])
    block = int((entries[0] == offset + np.arange(n_entries)).cumprod().sum())
    if n_entries % block:
        return None
    expected = offset + np.arange(n_units * n_entries).reshape(-1, n_units, block).swapaxes(0, 1)
    return (block, offset, n_entries // block) if np.array_equal(entries, expected.reshape(entries.shape)) else None


def after_cuts(placed: Sequence[Placed], shapes: Mapping[str, Sequence[int]], net: nn.Module) -> list[Width]:
    """List widths at their current sizes, given the ``shapes`` of the parameters when they were traced.

    The length of each axis has changed by the sum of its widths' losses, so that the losses solve a linear system. A
    cut starts earlier by the number of entries lost before it.
    """
    stretches = _stretches(placed)
    tensors = dict(chain(net.named_parameters(remove_duplicate=False), net.named_buffers(remove_duplicate=False)))
    matrix = np.zeros((len(stretches), len(placed)))
    for row, on_axis in enumerate(stretches.values()):
        for _, index, block in on_axis:
            matrix[row, index] += block
    lost = [shapes[name][axis] - tensors[name].shape[axis] for name, axis in stretches]
    losses = np.linalg.lstsq(matrix, np.array(lost, float))[0].round().astype(int).tolist() if any(lost) else None
    if losses is None:
        return [one.width for one in placed]
    return [_moved(one, loss, stretches, losses) for one, loss in zip(placed, losses, strict=True)]


Stretches = dict[Axis, list[tuple[int, int, int]]]
"""For each axis, the first entry of each stretch, the index of its width, and its number of entries per unit."""


def _stretches(placed: Sequence[Placed]) -> Stretches:
    stretches: Stretches = defaultdict(list)
    for index, one in enumerate(placed):
        for cut, axis in one.axes.items():
            for repeat in range(cut.repeat):
                stretches[axis].append((cut.offset + repeat * one.width.size * cut.block, index, cut.block))
    return stretches


def _moved(placed: Placed, loss: int, stretches: Stretches, losses: Sequence[int]) -> Width:
    """Shrink a width, and move its cuts by the number of entries lost before them."""

    def moved(cuts: Sequence[Cut]) -> tuple[Cut, ...]:
        return tuple(replace(cut, offset=cut.offset - lost_before(cut)) for cut in cuts)

    def lost_before(cut: Cut) -> int:
        return sum(block * losses[index] for first, index, block in stretches[placed.axes[cut]] if first < cut.offset)

    width = placed.width
    return replace(
        width,
        size=width.size - loss,
        producers=moved(width.producers),
        consumers=moved(width.consumers),
        carriers=moved(width.carriers),
    )
