"""What layers read on calibration rows: the mean and the second moment of their inputs."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from compressor.nn import FactorizedConv1x1, FactorizedConv2d, FactorizedEmbedding


@dataclass
class Moments:
    """Sums over everything that a layer read, without padding."""

    n_vectors: int
    total: Tensor
    """Sum of the vectors, shape (n_in,), float64."""
    products: Tensor
    """Sum of their outer products, shape (n_in, n_in), float64."""
    n_rows: int = 0
    """Number of examples."""
    places: tuple[int, ...] = ()
    """Height and width of what a convolution read last."""

    @property
    def mean(self) -> Tensor:
        """Mean vector."""
        return self.total / max(self.n_vectors, 1)

    @property
    def second(self) -> Tensor:
        """Mean of x x^T."""
        return self.products / max(self.n_vectors, 1)

    @property
    def n_vectors_per_row(self) -> float:
        """Vectors that one example has on average: the tokens of a text, the places of an image."""
        return self.n_vectors / max(self.n_rows, 1)


@contextmanager
def recording(net: nn.Module, layers: Mapping[str, nn.Module]) -> Iterator[dict[str, Moments]]:
    """While open, record what each of the layers reads in every forward call of the network.

    Parameters
    ----------
    net : nn.Module
        The network; an ``attention_mask`` of shape (batch, length) among its keyword arguments marks padding.
    layers : mapping of str to nn.Module
        Layers of the network: linear layers, convolutions, of which only the size of the image is recorded, and tables
        of embeddings, of which `total` counts how often each row is looked up.

    Yields
    ------
    dict of str to Moments
        Filled as the network is called; a layer that is never called is missing.
    """
    found: dict[str, Moments] = {}

    def see(name: str, inputs: Tensor, real: Tensor | None) -> None:
        _see_(found, name, layers[name], inputs, real)

    with watching(net, layers, see):
        yield found


@contextmanager
def watching(
    net: nn.Module, layers: Mapping[str, nn.Module], see: Callable[[str, Tensor, Tensor | None], None]
) -> Iterator[None]:
    """While open, call a function with what each of the layers reads in every forward call of the network.

    Parameters
    ----------
    net : nn.Module
        The network; an ``attention_mask`` of shape (batch, length) among its keyword arguments marks padding.
    layers : mapping of str to nn.Module
        Layers of the network.
    see : callable
        Takes the name of a layer, its inputs, and which tokens are no padding, shape (batch, length), or None.
    """
    real: list[Tensor | None] = [None]

    def see_mask(_: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> None:
        mask = kwargs.get("attention_mask")
        real[0] = mask.bool() if isinstance(mask, Tensor) and mask.ndim == 2 else None

    with ExitStack() as stack:
        stack.callback(net.register_forward_pre_hook(see_mask, with_kwargs=True).remove)
        for name, layer in layers.items():

            def see_layer(_: nn.Module, inputs: tuple[Tensor, ...], name: str = name) -> None:
                see(name, inputs[0].detach(), real[0])

            stack.callback(layer.register_forward_pre_hook(see_layer).remove)
        yield


def _see_(found: dict[str, Moments], name: str, layer: nn.Module, seen: Tensor, real: Tensor | None) -> None:
    if isinstance(layer, nn.Embedding | FactorizedEmbedding):
        _count_(found, name, layer.num_embeddings, seen, real)
    elif isinstance(layer, nn.Conv2d | FactorizedConv2d | FactorizedConv1x1):
        found[name] = Moments(0, seen.new_zeros(0), seen.new_zeros(0, 0), 0, tuple(seen.shape[2:]))
    else:
        _add_(found, name, seen, real)


@torch.no_grad()
def _add_(found: dict[str, Moments], name: str, inputs: Tensor, real: Tensor | None) -> None:
    vectors = inputs[real] if real is not None and inputs.shape[:-1] == real.shape else inputs.flatten(0, -2)
    vectors = vectors.double()
    n_in = vectors.shape[-1]
    moments = found.setdefault(name, Moments(0, vectors.new_zeros(n_in), vectors.new_zeros(n_in, n_in)))
    moments.n_vectors += len(vectors)
    moments.total += vectors.sum(dim=0)
    moments.products += vectors.T @ vectors
    moments.n_rows += len(inputs)


def _count_(found: dict[str, Moments], name: str, n_rows: int, indices: Tensor, real: Tensor | None) -> None:
    looked_up = indices[real] if real is not None and indices.shape == real.shape else indices.flatten()
    counts = torch.bincount(looked_up.cpu(), minlength=n_rows).double()
    moments = found.setdefault(name, Moments(0, torch.zeros(n_rows, dtype=torch.float64), torch.zeros(0, 0)))
    moments.total += counts
    moments.n_vectors += int(counts.sum())
    moments.n_rows += len(indices)
