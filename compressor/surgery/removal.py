"""Remove units: fold the constants they emit, cut the layers, and prove that nothing changed."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from compressor.errors import NumericsError
from compressor.surgery import layers
from compressor.surgery.cutting import cut_
from compressor.surgery.units import Example, dead_units, emissions, first_inputs, foldable_units
from compressor.surgery.widths import Cut, Family, Width


def shrink_(net: nn.Module, width: Width, keep: Tensor, example: Example | None) -> None:
    """Remove all units but ``keep``: fold the constants they emit into the consumers' biases, then cut the layers.

    The outputs do not change if every removed unit is dead. A live one is cut as well, along with its contribution
    to the outputs; `prove_equal` detects this.

    Parameters
    ----------
    net : nn.Module
        Changed in place. Layers get new, smaller parameters: optimizers must be rebuilt. A consumer without a bias
        gets one if it must take a constant; one left without units becomes a `Constant`.
    width : Width
        The width to cut; its ``size`` describes the network before the cut.
    keep : Tensor, int64 indices or a bool mask of shape (width.size,)
        Units to keep; their order does not change.
    example : mapping of Tensor, Tensor, or sequence of Tensor, optional
        Keyword arguments, the only positional argument, or all positional arguments of one forward call; needed if a
        constant must be folded.

    Raises
    ------
    ValueError
        If ``keep`` does not fit the width, a constant must be folded without ``example``, or its reader pads with
        zeros.

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
    shrink_all_(net, [(width, keep)], example)


def shrink_all_(net: nn.Module, cuts: Sequence[tuple[Width, Tensor]], example: Example | None) -> None:
    """Remove units of several widths as `shrink_` does for one, with a single forward call for all constants.

    ``cuts`` lists each width with the units to keep; all widths describe the network before the cut, and no
    entry of a layer may belong to two of them on the same side.
    """
    masks = [(width, _mask(width, keep)) for width, keep in cuts]
    _fold_(net, masks, example)
    cut_(net, masks)


def resize_(net: nn.Module, arch: Family, widths: Mapping[str, int], biases: Sequence[str] = ()) -> None:
    """Cut a newly built network to recorded unit counts: the first units of each width stay, nothing is folded.

    The layers named in ``biases`` get a bias. Meant for a constructor whose weights are loaded afterwards; works on the
    meta device.
    """
    for name in biases:
        layers.add_bias_(net.get_submodule(name))
    for name, n_units in widths.items():
        current = {width.name: width for width in arch.widths(net)}  # again: a cut moves the entries of other widths
        if name not in current:
            raise ValueError(f"no width {name!r}; there are {', '.join(current) or 'none'}")
        if not 0 <= n_units <= current[name].size:
            raise ValueError(f"{name}: cannot have {n_units} units, the network has {current[name].size}")
        if n_units < current[name].size:
            cut_(net, [(current[name], _mask(current[name], torch.arange(n_units, device="cpu")))])
            arch.resized_(net, current[name], n_units)


def empty_(net: nn.Module, width: Width) -> None:
    """Remove all units of a width that its consumers no longer read, so that there is nothing to fold."""
    cut_(net, [(width, torch.zeros(width.size, dtype=torch.bool, device="cpu"))])


def new_biases(net: nn.Module) -> list[str]:
    """List the layers that got a bias to take a constant."""
    return [name for name, module in net.named_modules() if layers.has_new_bias(module)]


def n_params(net: nn.Module) -> int:
    """Count the parameters, tied ones once."""
    return sum(parameter.numel() for parameter in net.parameters())


def column_sparsity(net: nn.Module, widths: Sequence[Width]) -> float:
    """Fraction of dead units over all units of the widths."""
    n_units = sum(width.size for width in widths)
    return sum(int(dead_units(net, width).sum()) for width in widths) / n_units if n_units else 0.0


@torch.no_grad()
def prove_equal(before: Tensor, after: Tensor, name: str, rtol: float = 1e-5) -> None:
    """Raise `NumericsError`, naming the width, unless the outputs agree to ``rtol`` of their largest magnitude."""
    error, largest = float((after - before).abs().max()), float(before.abs().max())
    if not error <= rtol * largest:  # also raises on NaN
        raise NumericsError(
            f"{name}: removing units changed the outputs by {error:.1e} where they reach {largest:.1e}, "
            f"more than {rtol:.0e} of it; check that they were dead and that the width names every layer they touch"
        )


def _mask(width: Width, keep: Tensor) -> Tensor:
    """Mask, on the CPU even where the default device is meta, of the units to keep."""
    mask = torch.zeros(width.size, dtype=torch.bool, device="cpu")
    try:
        mask[keep.cpu()] = True
    except IndexError as error:
        raise ValueError(f"{width.name}: has {width.size} units; {error}") from error
    return mask


@torch.no_grad()
def _fold_(net: nn.Module, masks: Sequence[tuple[Width, Tensor]], example: Example | None) -> None:
    """Add the constants that removed units emit, if a consumer reads them, to the consumers' biases."""
    readers = []
    for width, mask in masks:
        units = foldable_units(net, width)
        units &= ~mask.to(units.device)
        if units.any() and example is None:
            n_units = int(units.sum())
            raise ValueError(f"{width.name}: {n_units} removed units emit constants; pass an example to record them")
        readers += [(width, cut, units) for cut in width.consumers if units.any()]
    if not readers or example is None:
        return
    inputs = first_inputs(net, [layers.layer_of(net, width, cut) for width, cut, _ in readers], example)
    shifts = [
        (layers.layer_of(net, width, cut), _shift(net, width, cut, units, inputs)) for width, cut, units in readers
    ]
    for layer, shift in shifts:  # only now: a consumer may be a producer of another width's constants
        if layer.bias is None and shift.any():
            layers.add_bias_(layer)
        if layer.bias is not None:
            layer.bias.add_(shift)


def _shift(net: nn.Module, width: Width, cut: Cut, units: Tensor, inputs: Mapping[nn.Module, Tensor]) -> Tensor:
    """Sum the constants of the folded units, each times the weights with which a consumer reads it."""
    emitted = emissions(net, width, cut, inputs)[units].double().flatten()
    weights = layers.dense_weights(net, width, cut)[units].double().flatten(0, 2)  # (entries, outputs, kernel)
    shift = torch.tensordot(emitted, weights, dims=1).flatten(1).sum(1) if weights.ndim > 2 else emitted @ weights
    if not layers.can_take_constants(layers.layer_of(net, width, cut)) and shift.any():
        raise ValueError(
            f"{width.name}: removed units emit constants, which {cut.module!r} pads with zeros; zero their biases too"
        )
    return shift
