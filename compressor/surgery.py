"""Widths and their units: read them, zero them, fold what they emit, remove them, and prove that nothing changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import ModuleType
from typing import Literal

import torch
from torch import Tensor, nn

from compressor.errors import NumericsError

Kind = Literal["neuron", "head", "group", "channel"]
Side = Literal["producer", "consumer", "both"]

_AXIS = {"out": 0, "in": 1}  # of a linear layer's weight


@dataclass(frozen=True)
class Cut:
    """The entries of one layer that belong to a width: ``block`` neighbours per unit, from ``offset`` on."""

    module: str
    side: Literal["out", "in"]
    block: int = 1
    offset: int = 0
    routes: bool = False
    """The layer only steers where the unit looks (query, key): zero rows there do not make the unit constant."""


@dataclass(frozen=True)
class Width:
    """A dimension of the network made of removable units, with every layer it couples.

    In ``nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))`` the eight hidden neurons are one width: row k of
    layer 0 writes neuron k, column k of layer 2 reads it, and neither can lose it alone.
    """

    name: str
    kind: Kind
    size: int
    producers: tuple[Cut, ...]
    consumers: tuple[Cut, ...]

    def cuts(self, side: Side) -> tuple[Cut, ...]:
        """Layers that write the units, read them, or both; the producers come first."""
        return (self.producers if side != "consumer" else ()) + (self.consumers if side != "producer" else ())


class Constant(nn.Module):
    """What is left of a linear layer that reads no unit any more: its bias, at every position.

    An empty product would compute the same, but its empty inputs would be exported with it, and onnxruntime 1.31 dies
    of an attention without heads. The layer's parameters keep their names, so that a checkpoint keeps its keys.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, inputs: Tensor) -> Tensor:
        """Repeat the bias over the leading dimensions of ``inputs``."""
        emitted = self.weight.sum(dim=1) if self.bias is None else self.bias  # the sum of no columns is zero
        return emitted.expand(*inputs.shape[:-1], -1).clone()  # torch 2.13 trips over a view of a parameter in no_grad


_Layer = nn.Linear | Constant


def select(widths: Sequence[Width], patterns: Sequence[str]) -> list[Width]:
    """Widths whose name matches any of the shell-style patterns, in their own order; a pattern without one raises."""
    names = [width.name for width in widths]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ValueError(f"no width matches {pattern!r}; there are {', '.join(names) or 'none'}")
    return [width for width in widths if any(fnmatchcase(width.name, pattern) for pattern in patterns)]


def columns(net: nn.Module, width: Width, side: Side = "both") -> Tensor:
    """Gather the weights of a width as a matrix with one column per unit.

    Column k holds every weight (biases left out) that writes unit k, reads it, or both: the matrix that a ball's
    ``project`` takes, so that a column it zeroes is a unit that `shrink_` can remove.

    Parameters
    ----------
    net : nn.Module
        The network that the width was found in.
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
        If the width has no layer on that side, names a layer that is not there, or is wider than one of its layers.
    """
    cuts = width.cuts(side)
    if not cuts:
        raise ValueError(f"{width.name}: has no {side}")
    return torch.cat([_weights(net, width, cut).flatten(1) for cut in cuts], dim=1).T


@torch.no_grad()
def write_columns_(net: nn.Module, width: Width, matrix: Tensor, side: Side = "both") -> None:
    """Write the weights of a width from a matrix laid out as `columns` gives it."""
    views = [_weights(net, width, cut) for cut in width.cuts(side)]
    for view, rows in zip(views, torch.split(matrix, [view.shape[1:].numel() for view in views]), strict=True):
        view.copy_(rows.T.reshape(view.shape))


@torch.no_grad()
def zero_units_(net: nn.Module, width: Width, units: Tensor, side: Side = "both") -> None:
    """Zero the weights of the units where the mask ``units``, shape (width.size,), is true.

    With side ``both`` the producers' biases go as well: the unit then emits what its activation makes of zero. With
    side ``producer`` they stay, the unit emits a constant, and `shrink_` folds it.
    """
    for cut in width.cuts(side):
        layer = _layer(net, width, cut)
        _weights(net, width, cut)[units] = 0
        if side == "both" and cut.side == "out" and layer.bias is not None:
            _by_unit(layer.bias, 0, width, cut)[units] = 0


def dead_units(net: nn.Module, width: Width) -> Tensor:
    """Find the units that can be removed without changing the outputs.

    A unit is dead when no consumer reads it, or when what it emits does not depend on the input, because all the
    weights that write it are zero; then `shrink_` folds the constant. Zero query and key rows alone do not count:
    they make a head look everywhere alike, not at nothing.

    Returns
    -------
    Tensor of bool, shape (width.size,)
        On the weights' device.
    """
    return _untouched(net, width, width.consumers) | _constant(net, width)


def constants(net: nn.Module, width: Width, example: Mapping[str, Tensor], reader: Cut | None = None) -> Tensor:
    """Record what each unit emits, as a consumer sees it at the first position of ``example``.

    For a unit whose producers have zero weights this is all it ever emits: act(b) of a neuron, the value bias of a
    head. For any other unit it means nothing.

    Parameters
    ----------
    example : mapping of Tensor
        Keyword arguments of one forward call.
    reader : Cut, optional
        The consumer that looks; the first one by default. Across a residual sum they see different constants.

    Returns
    -------
    Tensor, shape (width.size * block,)
        ``block`` entries per unit, unit after unit.
    """
    cut = reader or width.consumers[0]
    seen: list[Tensor] = []
    modes = [(module, module.training) for module in net.modules()]
    hook = _layer(net, width, cut).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        with torch.no_grad():
            net.eval()(**example)  # dropout would blur a constant
    finally:
        hook.remove()
        for module, mode in modes:
            module.training = mode
    return seen[0].flatten(0, -2)[0].narrow(0, cut.offset, width.size * cut.block).clone()


def shrink_(net: nn.Module, width: Width, keep: Tensor, example: Mapping[str, Tensor] | None) -> None:
    """Remove all units but ``keep``: fold the constants they emit into the consumers' biases, then cut the layers.

    The outputs do not change when every removed unit is dead. A live one is cut as well, with whatever it
    contributed; `prove_equal` tells.

    Parameters
    ----------
    net : nn.Module
        Changed in place. Layers get new, smaller parameters: optimizers must be rebuilt. A consumer left without units
        becomes a `Constant`.
    width : Width
        The width to cut; its ``size`` describes the network before the cut.
    keep : Tensor, int64 indices or a bool mask of shape (width.size,)
        Units that stay, in their present order.
    example : mapping of Tensor, optional
        Keyword arguments of one forward call; needed if a constant must be folded.

    Raises
    ------
    ValueError
        If ``keep`` does not fit the width, a constant must be folded without ``example``, or a consumer has no bias
        to take it.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1))
    >>> for parameter, values in zip(net.parameters(), ([[3.0], [0.0]], [0.0, 5.0], [[1.0, 2.0]], [1.0])):
    ...     parameter.data = torch.tensor(values)
    >>> hidden = Width("hidden", "neuron", 2, producers=(Cut("0", "out"),), consumers=(Cut("2", "in"),))
    >>> dead_units(net, hidden)
    tensor([False,  True])
    >>> shrink_(net, hidden, ~dead_units(net, hidden), {"input": torch.ones(1, 1)})
    >>> net[2].weight.tolist(), net[2].bias.tolist()
    ([[1.0]], [11.0])
    """
    mask = _mask(width, keep)
    _fold_(net, width, ~mask, example)
    _cut_(net, width, mask)


def resize_(net: nn.Module, arch: ModuleType, widths: Mapping[str, int]) -> None:
    """Cut a freshly built network to recorded unit counts: the first units of each width stay, nothing is folded.

    Meant for a constructor whose weights are loaded afterwards; works on the meta device.
    """
    known = {width.name: width for width in arch.widths(net)}
    for name, n_units in widths.items():
        if name not in known:
            raise ValueError(f"no width {name!r}; there are {', '.join(known) or 'none'}")
        if not 0 <= n_units <= known[name].size:
            raise ValueError(f"{name}: cannot have {n_units} units, the network has {known[name].size}")
        if n_units < known[name].size:
            _cut_(net, known[name], _mask(known[name], torch.arange(n_units, device="cpu")))
            arch.resized_(net, known[name], n_units)


def n_params(net: nn.Module) -> int:
    """Count the parameters, tied ones once."""
    return sum(parameter.numel() for parameter in net.parameters())


def column_sparsity(net: nn.Module, widths: Sequence[Width]) -> float:
    """Fraction of dead units over all units of the widths."""
    n_units = sum(width.size for width in widths)
    return sum(int(dead_units(net, width).sum()) for width in widths) / n_units if n_units else 0.0


def prove_equal(before: Tensor, after: Tensor, name: str, rtol: float = 1e-5) -> None:
    """Raise `NumericsError`, naming the width, unless the outputs agree to ``rtol`` of their largest magnitude."""
    error, largest = float((after - before).abs().max()), float(before.abs().max())
    if not error <= rtol * largest:  # NaN is no agreement
        raise NumericsError(
            f"{name}: removing units changed the outputs by {error:.1e} where they reach {largest:.1e}, "
            f"more than {rtol:.0e} of it; check that they were dead and that the width names every layer they touch"
        )


def _layer(net: nn.Module, width: Width, cut: Cut) -> _Layer:
    """Look up the layer of a cut; raise ValueError when the declaration does not fit the network."""
    try:
        layer = net.get_submodule(cut.module)
    except AttributeError as error:
        raise ValueError(f"{width.name}: there is no module {cut.module!r}") from error
    if not isinstance(layer, _Layer):
        raise ValueError(f"{width.name}: {cut.module!r} is a {type(layer).__name__}; only nn.Linear can be cut")
    end, n_entries = cut.offset + width.size * cut.block, layer.weight.shape[_AXIS[cut.side]]
    if end > n_entries:
        raise ValueError(f"{width.name}: needs {end} entries of {cut.module!r}, {cut.side} side, found {n_entries}")
    return layer


def _by_unit(tensor: Tensor, axis: int, width: Width, cut: Cut) -> Tensor:
    """View the entries of a cut along ``axis`` as (unit, block, the other dimensions)."""
    entries = tensor.narrow(axis, cut.offset, width.size * cut.block).movedim(axis, 0)
    return entries.view(width.size, cut.block, *entries.shape[1:])


def _weights(net: nn.Module, width: Width, cut: Cut) -> Tensor:
    """View the weights of a cut, shape (unit, block, the layer's other side)."""
    return _by_unit(_layer(net, width, cut).weight.detach(), _AXIS[cut.side], width, cut)


def _untouched(net: nn.Module, width: Width, cuts: Sequence[Cut]) -> Tensor:
    """Mask of the units whose weights are zero in all of the layers."""
    return torch.stack([_weights(net, width, cut).flatten(1).eq(0).all(dim=1) for cut in cuts]).all(dim=0)


def _constant(net: nn.Module, width: Width) -> Tensor:
    """Mask of the units whose emission no input changes; where no layer writes the units they are inputs."""
    writers = [cut for cut in width.producers if not cut.routes]
    if not writers:
        return torch.zeros_like(_untouched(net, width, width.consumers))
    return _untouched(net, width, writers)


def _mask(width: Width, keep: Tensor) -> Tensor:
    """Mask, on the CPU even where the default device is meta, of the units to keep."""
    mask = torch.zeros(width.size, dtype=torch.bool, device="cpu")
    try:
        mask[keep.cpu()] = True
    except IndexError as error:
        raise ValueError(f"{width.name}: has {width.size} units; {error}") from error
    return mask


@torch.no_grad()
def _fold_(net: nn.Module, width: Width, removed: Tensor, example: Mapping[str, Tensor] | None) -> None:
    """Add what the removed units emit, where it is constant and read, to the consumers' biases."""
    folded = _constant(net, width) & ~_untouched(net, width, width.consumers)
    folded &= removed.to(folded.device)
    if not folded.any():
        return
    if example is None:
        raise ValueError(f"{width.name}: {int(folded.sum())} removed units emit constants; give an example to see them")
    shifts = []
    for cut in width.consumers:
        emitted = constants(net, width, example, cut).view(width.size, cut.block)[folded]
        shift = torch.einsum("ubo,ub->o", _weights(net, width, cut)[folded].double(), emitted.double())
        bias = _layer(net, width, cut).bias
        if bias is None and shift.any():
            raise ValueError(f"{width.name}: {cut.module!r} has no bias to take the constants of the removed units")
        shifts.append((bias, shift))
    for bias, shift in shifts:  # only now: a consumer may be a producer of the next one's constants
        if bias is not None:
            bias.add_(shift)


def _cut_(net: nn.Module, width: Width, mask: Tensor) -> None:
    """Give the layers of a width new parameters, without the entries of the units where ``mask`` is false."""
    layers = {cut.module: _layer(net, width, cut) for cut in width.cuts("both")}
    smaller = _smaller(net, width, mask)
    for module in net.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter in smaller:
                setattr(module, name, smaller[parameter])
    for name, layer in layers.items():
        layer.out_features, layer.in_features = layer.weight.shape
        if layer.in_features == 0 and isinstance(layer, nn.Linear):
            net.set_submodule(name, Constant(layer))


def _smaller(net: nn.Module, width: Width, mask: Tensor) -> dict[Tensor, nn.Parameter]:
    """Map each parameter of a width to what the cut leaves of it; one that layers share is cut once."""
    kept: dict[tuple[Tensor, int], Tensor] = {}
    for cut in width.cuts("both"):
        layer, axis = _layer(net, width, cut), _AXIS[cut.side]
        for parameter in (layer.weight, layer.bias if cut.side == "out" else None):
            if parameter is not None:
                everything = torch.ones(parameter.shape[axis], dtype=torch.bool, device="cpu")
                _by_unit(kept.setdefault((parameter, axis), everything), 0, width, cut)[~mask] = False

    smaller: dict[Tensor, nn.Parameter] = {}
    for (parameter, axis), entries in kept.items():
        index = entries.nonzero().squeeze(1).to(parameter.device)
        values = smaller.get(parameter, parameter).detach().index_select(axis, index)
        smaller[parameter] = nn.Parameter(values, requires_grad=parameter.requires_grad)
    return smaller
