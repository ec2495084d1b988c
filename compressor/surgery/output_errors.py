"""How far the outputs of layers are from those of the layers that they stand for, on given inputs."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor, nn

from compressor.surgery.moments import watching


@dataclass
class Gap:
    """Sums of squares over all outputs of a layer, without those of padding."""

    gap: float = 0.0
    """Of the differences of both outputs."""
    whole: float = 0.0
    """Of the outputs of the layer in the network, without its bias."""

    @property
    def error(self) -> float:
        """Norm of the differences, relative to the norm of the outputs."""
        return sqrt(self.gap / self.whole) if self.whole else sqrt(self.gap)


@contextmanager
def comparing(net: nn.Module, others: Mapping[str, nn.Module]) -> Iterator[dict[str, Gap]]:
    """While open, compare layers of a network with other layers on the same inputs, in every call of the network.

    Parameters
    ----------
    net : nn.Module
        The network, which goes on as it is; an ``attention_mask`` among its keyword arguments marks padding.
    others : mapping of str to nn.Module
        By the path of a layer, one that takes and gives tensors of the same shapes.

    Yields
    ------
    dict of str to Gap
        Filled as the network is called; a layer that is never called is missing.
    """
    found: dict[str, Gap] = {}
    layers = {name: net.get_submodule(name) for name in others}

    @torch.no_grad()
    def see(name: str, inputs: Tensor, real: Tensor | None) -> None:
        expected, actual = (layer.forward(inputs) for layer in (layers[name], others[name]))  # without their hooks
        difference, whole = (actual - expected).double(), _without_bias(layers[name], expected).double()
        if real is not None and expected.shape[: real.ndim] == real.shape:
            difference, whole = difference[real], whole[real]
        sums = found.setdefault(name, Gap())
        sums.gap += float(difference.square().sum())
        sums.whole += float(whole.square().sum())

    with watching(net, layers, see):
        yield found


def _without_bias(layer: nn.Module, outputs: Tensor) -> Tensor:
    bias: Tensor | None = getattr(layer, "bias", None)
    if bias is None:
        return outputs
    return outputs - (bias[:, None, None] if isinstance(layer, nn.Conv2d) else bias)
