"""Factorized layers in a network: put them in and out, record them, and say which widths can still be cut."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from torch import nn

from compressor.nn import FACTORIZED, Factorized, from_spec
from compressor.rundir import FactorizedLayer
from compressor.surgery import layers
from compressor.surgery.marks import mark_
from compressor.surgery.widths import Cut, Width


def factorized(net: nn.Module) -> dict[str, Factorized]:
    """Find the factorized layers of a network by their paths."""
    return {name: module for name, module in net.named_modules() if isinstance(module, FACTORIZED)}


def replace_(net: nn.Module, name: str, layer: nn.Module) -> None:
    """Put a layer in the place of another one that computes about the same."""
    mark_(layer, "_compressor_new_bias", layers.has_new_bias(net.get_submodule(name)))
    net.set_submodule(name, layer.train(net.training))


def specs(net: nn.Module) -> dict[str, dict[str, Any]]:
    """Describe the factorized layers in words of JSON, for `restore_`."""
    return {name: layer.spec() for name, layer in factorized(net).items()}


def restore_(net: nn.Module, specs: Mapping[str, Mapping[str, Any]]) -> None:
    """Put factorized layers, still without values, where descriptions say; the network must have its final widths.

    Raises
    ------
    ValueError
        If a description does not fit the layer in whose place it would be.
    """
    for name, spec in specs.items():
        dense, layer = net.get_submodule(name), from_spec(spec)
        if _ends(layer) != _ends(dense):
            raise ValueError(f"{name}: a factorized layer of {_ends(layer)} in the place of {_ends(dense)}")
        replace_(net, name, layer)


def described(net: nn.Module) -> list[FactorizedLayer]:
    """Describe the factorized layers for people: method, ranks and size."""
    return [_described(name, layer) for name, layer in factorized(net).items()]


def _described(name: str, layer: Factorized) -> FactorizedLayer:
    equation, factors = layer.equation, layer.factors()
    sizes = equation.sizes(factors)
    outer = set("".join(equation.axes))
    return {
        "name": name,
        "method": layer.method,
        "ranks": [size for letter, size in sizes.items() if letter not in outer and size > 1] or [1],
        "n_params": sum(factor.numel() for factor in factors),
        "n_params_dense": prod(sizes[letter] for letters in equation.axes for letter in letters),
    }


def _ends(layer: Any) -> tuple[int, ...]:
    """Numbers of what a layer takes and gives."""
    pairs = (
        ("num_embeddings", "embedding_dim"),
        ("in_channels", "out_channels"),
        ("in_features", "out_features"),
        ("nx", "nf"),  # of transformers' Conv1D
    )
    for names in pairs:
        if hasattr(layer, names[0]):
            return tuple(getattr(layer, name) for name in names)
    return ()


def cuttable(net: nn.Module, widths: Sequence[Width]) -> list[Width]:
    """Select the widths whose units are entries of one axis in every factorized layer that they touch."""
    found = factorized(net)

    def is_cut(cut: Cut) -> bool:
        layer = found.get(cut.module)
        return layer is None or bool(layer.axes(cut.side))

    return [width for width in widths if all(is_cut(cut) for cut in width.everywhere)]
