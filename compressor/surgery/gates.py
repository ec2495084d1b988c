"""Factors that multiply the outputs of units where their consumers read them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from compressor.surgery import layers
from compressor.surgery.widths import Cut, Width

Gate = Callable[[Width, Tensor], Tensor]
"""From a width and what a consumer reads to factors of shape (len(inputs), width.size), or (1, width.size)."""


@contextmanager
def gated(net: nn.Module, widths: Iterable[Width], gate: Gate) -> Iterator[None]:
    """While open, multiply what the consumers of the widths read by the factors of a gate, at each call."""
    handles = []
    for width in widths:
        for cut in width.consumers:
            layer = net.get_submodule(cut.module)
            handles.append(layer.register_forward_pre_hook(_hook(width, _unit_of(net, width, cut), gate)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def n_examples_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    """Count the examples in the arguments of a forward call, from its first tensor."""
    return next(len(each) for each in (*args, *kwargs.values()) if isinstance(each, Tensor))


def entries(net: nn.Module, width: Width, cut: Cut) -> Tensor:
    """List the indices of what each unit gives a consumer, shape (width.size, n_entries), among all that it reads."""
    slot = layers.slots(net, width, cut)[0]
    return layers.by_unit(torch.arange(slot.tensor.shape[slot.axis]), width, cut).flatten(1)


def _unit_of(net: nn.Module, width: Width, cut: Cut) -> Tensor:
    """Find the unit to which each entry of a consumer's input belongs; ``width.size`` for those of no unit."""
    slot = layers.slots(net, width, cut)[0]
    units = torch.full((slot.tensor.shape[slot.axis],), width.size)
    own = entries(net, width, cut)
    units[own] = torch.arange(width.size).unsqueeze(1).expand_as(own)
    return units


def _hook(width: Width, unit_of: Tensor, gate: Gate) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor, ...]]:
    def multiply(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        first, *rest = inputs
        factors = gate(width, first)
        factors = torch.cat([factors, factors.new_ones(len(factors), 1)], dim=1)[:, unit_of.to(factors.device)]
        n_between = first.ndim - 2
        at = 2 if layers.unit_axis(layer) == 1 else 1
        return (first * factors[(slice(None),) * at + (None,) * n_between], *rest)

    return multiply
