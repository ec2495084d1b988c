"""Layers that read units as linear maps: the vectors that they read, what they make of them, and their matrices."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from compressor.surgery import layers
from compressor.surgery.gates import entries
from compressor.surgery.moments import watching
from compressor.surgery.widths import Cut, Width

PLACES = 64  # of each image or text that a convolution reads: more of them are much alike


def names(widths: Iterable[Width]) -> list[str]:
    """List the layers that read the widths, each once, in the order of the widths."""
    return list(dict.fromkeys(cut.module for width in widths for cut in width.consumers))


def require_plain(net: nn.Module, paths: Iterable[str]) -> None:
    """Refuse layers whose weights cannot be solved for."""
    for name in paths:
        layer: Any = net.get_submodule(name)
        is_plain = type(layer) in (nn.Linear, Conv1D) or (
            type(layer) in (nn.Conv1d, nn.Conv2d) and layer.groups == 1 and layer.padding_mode == "zeros"
        )
        if not is_plain:
            kind = type(layer).__name__
            raise ValueError(
                f"{name}: is a {kind}, whose weights cannot be solved for; set update: none, or leave it out"
            )


def units_of(net: nn.Module, width: Width, cut: Cut) -> Tensor:
    """List the rows of a reader's matrix that each unit has, shape (width.size, n_rows)."""
    own, n_taps = entries(net, width, cut), n_taps_of(net.get_submodule(cut.module))
    return (own.unsqueeze(-1) * n_taps + torch.arange(n_taps)).flatten(1)


def n_taps_of(layer: nn.Module) -> int:
    """Count the weights with which a layer reads one entry for one output: 1, or the size of a kernel."""
    return int(layer.get_parameter("weight")[0, 0].numel()) if isinstance(layer, nn.Conv1d | nn.Conv2d) else 1


def n_outputs(layer: nn.Module) -> int:
    """Count the outputs of a layer."""
    return int(layer.get_parameter("weight").shape[layers.axes(layer, "out")["weight"]])


def matrix_of(layer: nn.Module) -> Tensor:
    """Copy the weights of a layer as a matrix of float64, shape (n_read, n_outputs)."""
    weight = layer.get_parameter("weight").detach().double()
    return weight.clone() if isinstance(layer, Conv1D) else weight.flatten(1).T.clone()


@torch.no_grad()
def set_matrix_(layer: nn.Module, matrix: Tensor) -> None:
    """Write the weights of a layer from a matrix with the layout of `matrix_of`."""
    weight = layer.get_parameter("weight")
    weight.copy_(matrix if isinstance(layer, Conv1D) else matrix.T.reshape(weight.shape))


def vectors(layer: Any, inputs: Tensor, real: Tensor | None) -> Tensor:
    """Arrange what a layer reads as the rows of a matrix, shape (n_vectors, n_read), so that it multiplies them.

    ``real``, shape (batch, length), leaves out padding; of a convolution's outputs only some places are taken.
    """
    if not isinstance(layer, nn.Conv1d | nn.Conv2d):
        return _rows(inputs, real)
    if isinstance(layer, nn.Conv1d):
        inputs = inputs.unsqueeze(2)
    kernel, stride, dilation, padding = (_pair(each) for each in _geometry(layer))
    patches = functional.unfold(inputs, kernel, dilation, padding, stride)
    return patches[..., _places(patches.shape[-1])].mT.flatten(0, 1)


def answers(layer: nn.Module, outputs: Tensor, real: Tensor | None) -> Tensor:
    """Arrange what a layer returns as `vectors` arranges what it reads, shape (n_vectors, n_outputs)."""
    if not isinstance(layer, nn.Conv1d | nn.Conv2d):
        return _rows(outputs, real)
    flat = outputs.flatten(2)
    return flat[..., _places(flat.shape[-1])].mT.flatten(0, 1)


def _rows(tensor: Tensor, real: Tensor | None) -> Tensor:
    if real is not None and tensor.shape[:-1] == real.shape:
        return tensor[real]
    return tensor.flatten(0, -2)


def _places(n_places: int) -> Tensor:
    return torch.linspace(0, n_places - 1, min(n_places, PLACES)).round().long()


def _geometry(layer: Any) -> tuple[Any, Any, Any, Any]:
    padding = layer.padding
    if isinstance(padding, str):  # same, or valid; an even kernel is padded unevenly, so it is refused
        if padding == "same" and any(size % 2 == 0 for size in layer.kernel_size):
            raise ValueError("padding: 'same' with an even kernel cannot be unfolded; set update: none")
        sizes = zip(layer.kernel_size, layer.dilation, strict=True)
        padding = tuple(step * (size - 1) // 2 if padding == "same" else 0 for size, step in sizes)
    return layer.kernel_size, layer.stride, layer.dilation, padding


def _pair(sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Sizes along height and width; a text has a height of one."""
    if len(sizes) == 2:
        return sizes
    return (1, *sizes)


def no_moments(net: nn.Module, paths: Iterable[str]) -> dict[str, Tensor]:
    """Begin to sum up what layers read: tensors that `adding_moments` changes in place."""
    sums: dict[str, Tensor] = {}
    for name in paths:
        n_read = len(matrix_of(net.get_submodule(name)))
        shapes = {"count": (1,), "total": (n_read,), "products": (n_read, n_read)}
        sums |= {f"moments.{name}.{what}": torch.zeros(shape, dtype=torch.float64) for what, shape in shapes.items()}
    return sums


@contextmanager
def adding_moments(sums: dict[str, Tensor], net: nn.Module, paths: Iterable[str]) -> Iterator[None]:
    """While open, sum up the vectors that layers read and their outer products, without padding."""
    watched = {name: net.get_submodule(name) for name in paths}

    @torch.no_grad()
    def see(name: str, inputs: Tensor, real: Tensor | None) -> None:
        read = vectors(watched[name], inputs, real)
        sums[f"moments.{name}.count"] += len(read)
        sums[f"moments.{name}.total"] += read.sum(dim=0, dtype=torch.float64).cpu()
        sums[f"moments.{name}.products"] += (read.T @ read).cpu()

    with watching(net, watched, see):
        yield


def moments_of(sums: Mapping[str, Tensor], net: nn.Module, name: str) -> tuple[Tensor, Tensor]:
    """Mean of x, shape (n_read,), and of x x^T, shape (n_read, n_read), around it if the layer has a bias."""
    count = sums[f"moments.{name}.count"].clamp(min=1)
    mean, second = sums[f"moments.{name}.total"] / count, sums[f"moments.{name}.products"] / count
    return mean, second if net.get_submodule(name).bias is None else second - torch.outer(mean, mean)
