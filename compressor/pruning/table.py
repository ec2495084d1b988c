"""What each level of each width costs: the divergence of the outputs if this width alone is cut."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from compressor.model import Model
from compressor.numerics.least_squares import correction
from compressor.pruning.replay import Batches, Replay, in_order_of_calls
from compressor.pruning.update import DAMPING
from compressor.surgery import Width, readers
from compressor.training.losses import softened_divergence

SHARES = (1.0, 7 / 8, 3 / 4, 5 / 8, 1 / 2, 3 / 8, 1 / 4, 1 / 6, 1 / 8, 1 / 12, 1 / 24, 1 / 48)
FEW = 16  # units up to which each number is a level


def levels_of(width: Width) -> list[int]:
    """Numbers of units that a width may keep, least first."""
    if width.size <= FEW:
        return list(range(1, width.size + 1))
    return sorted({max(1, round(share * width.size)) for share in SHARES})


def damages(
    model: Model,
    widths: Sequence[Width],
    orders: Mapping[str, Tensor],
    calibration: Batches | None,
    judged: Batches,
) -> dict[str, list[float]]:
    """Measure the damage of each level of each width, run from its first consumer on.

    Parameters
    ----------
    model : Model
        The network before; its weights are changed in between, and as they were at the end.
    widths : sequence of Width
        The widths that may be cut.
    orders : mapping of str to Tensor
        Units of each width in the order of removal.
    calibration : sequence of mapping of str to Tensor, optional
        Rows on which the weights of the units that are left are solved for; they stay as they are without.
    judged : sequence of mapping of str to Tensor
        Rows on which the outputs are compared.

    Returns
    -------
    dict of str to list of float
        For each level of `levels_of` the mean KL divergence of the outputs from those before, in nats.
    """
    moments = None if calibration is None else _moments(model, widths, calibration)
    replay, scored = Replay(model.net, judged), model.task.file.OUTPUT_NAMES[0]

    def logits() -> Tensor:
        return torch.cat([replay.run(index)[scored] for index in range(len(judged))])

    before, found = logits(), {}
    for path in in_order_of_calls(model.net, readers.names(widths), judged[-1]):
        for width in [each for each in widths if each.name not in found and path in readers.names([each])]:
            replay.advance(path)
            found[width.name] = [0.0] * len(levels_of(width))
            for level, n_kept in enumerate(levels_of(width)[:-1]):
                with _without(model.net, width, orders[width.name][: width.size - n_kept], moments):
                    found[width.name][level] = float(softened_divergence(logits(), before, 1.0))
    return found


def _moments(model: Model, widths: Sequence[Width], batches: Batches) -> dict[str, Tensor]:
    """Sum up what the consumers read on calibration rows."""
    paths = readers.names(widths)
    sums, replay = readers.no_moments(model.net, paths), Replay(model.net, batches)
    with readers.adding_moments(sums, model.net, paths):
        for index in range(len(batches)):
            replay.run(index)
    return sums


@contextmanager
@torch.no_grad()
def _without(net: nn.Module, width: Width, removed: Tensor, moments: Mapping[str, Tensor] | None) -> Iterator[None]:
    """While open, the consumers of a width do not read some units; with moments their other weights make up for it."""
    consumers = [net.get_submodule(cut.module) for cut in width.consumers]
    own = [tensor for layer in consumers for tensor in layer.parameters()]
    saved = [tensor.detach().clone() for tensor in own]
    for cut, layer in zip(width.consumers, consumers, strict=True):
        own_moments = None if moments is None else readers.moments_of(moments, net, cut.module)
        _cut_(layer, readers.units_of(net, width, cut)[removed].flatten(), own_moments)
    try:
        yield
    finally:
        for tensor, before in zip(own, saved, strict=True):
            tensor.copy_(before)


def _cut_(layer: Any, rows: Tensor, moments: tuple[Tensor, Tensor] | None) -> None:
    """Zero rows of the matrix of a layer, and correct the others and the bias."""
    matrix = readers.matrix_of(layer)
    left = matrix.clone()
    left[rows] = 0
    if moments is not None:
        mean, products = moments
        live = left.any(dim=1)
        missing = products[live][:, rows] @ matrix[rows]
        left[live] += correction(products[live][:, live], missing, DAMPING)
        if layer.bias is not None:
            layer.bias += mean @ (matrix - left)
    readers.set_matrix_(layer, left)
