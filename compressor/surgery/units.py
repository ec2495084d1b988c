"""Units of a network in its weights: read them, zero them, find dead ones, and record the constants they emit."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from compressor.surgery import layers
from compressor.surgery.layers import Slot
from compressor.surgery.widths import Cut, Side, Width

Example = Mapping[str, Tensor] | Tensor | Sequence[Tensor]
"""Arguments of one forward call: by name, the only one, or all by position."""


def forward(net: nn.Module, example: Example) -> Any:
    """Call a network."""
    if isinstance(example, Mapping):
        return net(**example)
    return net(example) if isinstance(example, Tensor) else net(*example)


def columns(net: nn.Module, width: Width, side: Side = "both") -> Tensor:
    """Gather the weights of a width as a matrix with one column per unit.

    Column k contains every weight (without biases) that writes unit k, reads it, or both: the matrix that a ball's
    ``project`` takes, so that a column it zeroes is a unit that `shrink_` can remove.

    Parameters
    ----------
    net : nn.Module
        The network that has the width.
    width : Width
        One of its widths.
    side : {"producer", "consumer", "both"}
        Layers whose weights form the column.

    Returns
    -------
    Tensor, shape (n_rows, width.size)
        A fresh tensor of the weights' dtype and device.

    Raises
    ------
    ValueError
        If the width has no layer on that side, names a layer that does not exist, or is wider than one of its layers.
    """
    cuts = width.cuts(side)
    if not cuts:
        raise ValueError(f"{width.name}: has no {side}")
    return torch.cat([layers.weights(net, width, cut).flatten(1) for cut in cuts], dim=1).T


@torch.no_grad()
def write_columns_(net: nn.Module, width: Width, matrix: Tensor, side: Side = "both") -> None:
    """Write the weights of a width from a matrix with the layout of `columns`."""
    views = [layers.weights(net, width, cut) for cut in width.cuts(side)]
    for view, rows in zip(views, torch.split(matrix, [view.shape[1:].numel() for view in views]), strict=True):
        view.copy_(rows.T.reshape(view.shape))


@torch.no_grad()
def zero_units_(net: nn.Module, width: Width, units: Tensor, side: Side = "both") -> None:
    """Zero the weights of the units where the mask ``units``, shape (width.size,), is true.

    With side ``both`` the producers' biases are zeroed too: the unit then emits its activation of zero. With side
    ``producer`` they stay, the unit emits a constant, and `shrink_` folds it. With any side, the weights and shifts of
    normalisations and depthwise convolutions that carry the units are zeroed, and of a pair of scoring layers the
    first; if no layer of the width writes the units, their consumers are zeroed.
    """
    for cut in width.cuts(side if _writers(width) else "both"):
        layers.weights(net, width, cut)[units] = 0
        if side == "both" and cut.side == "out":
            for shift in layers.shifts(net, width, cut):
                shift[units] = 0
    for cut in (*_carrying(net, width), *_scoring(width)[:1]):
        layers.weights(net, width, cut)[units] = 0
        for shift in layers.shifts(net, width, cut):
            shift[units] = 0


def dead_units(net: nn.Module, width: Width) -> Tensor:
    """Find the units that can be removed without changing the outputs.

    A unit is dead if no consumer reads it, or if its output does not depend on the input, because all the weights
    that write it are zero; then `shrink_` folds the constant. Zero query and key rows alone do not count: they make a
    head attend to all positions equally, not to none. A dimension of all heads must also drop out of the scores.

    Returns
    -------
    Tensor of bool, shape (width.size,)
        On the weights' device.
    """
    return (_untouched(net, width, width.consumers) | _constant(net, width)) & ~_scores(net, width)


def foldable_units(net: nn.Module, width: Width) -> Tensor:
    """Mask of the units that emit a constant which some consumer reads."""
    return _constant(net, width) & ~_untouched(net, width, width.consumers)


def holds(net: nn.Module, width: Width) -> list[tuple[Slot, Cut, Tensor]]:
    """List the tensors that must stay zero for dead units to stay dead, each with its cut and the units' indices.

    These are the weights that write them, and those entries of carriers and scoring layers that are zero already: the
    units then emit constants at most, which `shrink_` folds, whatever values the weights that read them take. Inputs
    of the network, which nothing writes, are held by the weights that read them.
    """
    dead = dead_units(net, width)
    if not dead.any():
        return []
    held = [(layers.slots(net, width, cut)[0], cut, dead) for cut in _writers(width) or width.consumers]
    for cut in (*_carrying(net, width), *_scoring(width)):
        for slot in layers.slots(net, width, cut):
            if slot.name in ("weight", "bias"):
                held.append((slot, cut, dead & _is_zero(slot.units(width, cut))))
    return [(slot, cut, mask.nonzero().flatten()) for slot, cut, mask in held]


def constants(net: nn.Module, width: Width, example: Example, reader: Cut | None = None) -> Tensor:
    """Record the output of each unit, as a consumer reads it at the first position of ``example``.

    For a unit whose producers have zero weights this is its output for every input: act(b) of a neuron, the value
    bias of a head. For any other unit it is meaningless.

    Parameters
    ----------
    example : mapping of Tensor, Tensor, or sequence of Tensor
        Keyword arguments, the only positional argument, or all positional arguments of one forward call.
    reader : Cut, optional
        The consumer whose input is recorded; the first one by default. In a residual sum consumers read different
        constants.

    Returns
    -------
    Tensor, shape (width.size, repeat, block)
        The entries of each unit that the consumer's cut reads.
    """
    cut = reader or width.consumers[0]
    return emissions(net, width, cut, first_inputs(net, [layers.layer_of(net, width, cut)], example))


def first_inputs(net: nn.Module, readers: Iterable[nn.Module], example: Example) -> dict[nn.Module, Tensor]:
    """Record the inputs of layers at the first position of ``example``, each at its first call, in one forward call.

    A layer that is never called is left out: an attention without heads needs no queries.
    """
    seen: dict[nn.Module, Tensor] = {}

    def keep(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if layer not in seen:
            seen[layer] = inputs[0].movedim(layers.unit_axis(layer), 0).flatten(1)[:, 0].clone()

    modes = [(module, module.training) for module in net.modules()]
    hooks = [layer.register_forward_pre_hook(keep) for layer in set(readers)]
    try:
        with torch.no_grad():
            forward(net.eval(), example)  # dropout would change a constant
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes:
            module.training = mode
    return seen


def emissions(net: nn.Module, width: Width, reader: Cut, inputs: Mapping[nn.Module, Tensor]) -> Tensor:
    """Select the entries of each unit, shape (width.size, repeat, block), that a consumer's cut reads."""
    layer = layers.layer_of(net, width, reader)
    if layer not in inputs:
        return layers.weights(net, width, reader).new_zeros(width.size, reader.repeat, reader.block)
    return layers.by_unit(inputs[layer], width, reader).clone()


def _untouched(net: nn.Module, width: Width, cuts: Sequence[Cut]) -> Tensor:
    """Mask of the units whose weights are zero in all these layers."""
    return torch.stack([_is_zero(layers.weights(net, width, cut)) for cut in cuts]).all(dim=0)


def _is_zero(entries: Tensor) -> Tensor:
    return entries.flatten(1).eq(0).all(dim=1)


def _constant(net: nn.Module, width: Width) -> Tensor:
    """Mask of the units whose output no input changes; none if no layer writes the units, as they are inputs."""
    if not _writers(width):
        return torch.zeros_like(_untouched(net, width, width.consumers))
    return _untouched(net, width, _writers(width))


def _writers(width: Width) -> list[Cut]:
    """List the producers that determine the outputs of the units."""
    return [cut for cut in width.producers if cut.role == "writes"]


def _carrying(net: nn.Module, width: Width) -> list[Cut]:
    """List the carriers with their own shift, which would keep a unit's output from being zero."""
    return [cut for cut in width.carriers if layers.shifts(net, width, cut)]


def _scoring(width: Width) -> list[Cut]:
    """List the layers whose product weighs the units in the scores of an attention."""
    return [cut for cut in width.producers if cut.role == "scores"]


def _scores(net: nn.Module, width: Width) -> Tensor:
    """Mask of the units that no scoring layer zeroes: one must, with its bias, for the product to vanish."""
    is_live = torch.zeros(width.size, dtype=torch.bool, device=layers.weights(net, width, width.everywhere[0]).device)
    for index, cut in enumerate(_scoring(width)):
        entries = [layers.weights(net, width, cut), *layers.shifts(net, width, cut)]
        is_zero = torch.stack([_is_zero(tensor) for tensor in entries]).all(dim=0)
        is_live = ~is_zero if index == 0 else is_live & ~is_zero
    return is_live
