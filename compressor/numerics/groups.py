"""Tensors seen as groups: the slices along one axis, of one tensor or of several coupled ones."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

_LONG = 512  # number of members from which a sample of an eighth is enough


@dataclass(frozen=True)
class Coupled:
    """Several tensors whose slices at one index form one column, each along its own axis of `dims`."""

    tensors: tuple[Tensor, ...]
    dims: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.tensors) != len(self.dims) or not self.tensors:
            raise ValueError(f"coupled: needs one dim per tensor, got {len(self.tensors)} and {len(self.dims)}")
        sizes = [tensor.shape[dim] for tensor, dim in zip(self.tensors, self.dims, strict=True)]
        if len(set(sizes)) > 1:
            raise ValueError(f"coupled: the axes in dims must have one size, got {sizes}")


Grouped = TypeVar("Grouped", Tensor, Coupled)
Dim = int | tuple[int, ...] | None


@dataclass(frozen=True)
class Groups:
    """Views of shape (*batch, n_groups, *members), one per coupled tensor."""

    parts: tuple[Tensor, ...]
    n_batch: int

    @property
    def shape(self) -> torch.Size:
        """Shape of a vector with one entry per group: (*batch, n_groups)."""
        return self.parts[0].shape[: self.n_batch + 1]

    @property
    def dtype(self) -> torch.dtype:
        """Type of sums over members: float32 for half precision."""
        return torch.promote_types(self.parts[0].dtype, torch.float32)

    @property
    def n_entries(self) -> int:
        """Number of entries over all parts."""
        return sum(part.numel() for part in self.parts)

    @property
    def n_bytes(self) -> int:
        """Size of all parts."""
        return sum(part.nbytes for part in self.parts)

    @property
    def wants_gradient(self) -> bool:
        """Whether autograd records operations on the parts."""
        return torch.is_grad_enabled() and any(part.requires_grad for part in self.parts)

    @property
    def outer(self) -> "Groups":
        """The groups that the innermost batch axis indexes."""
        return Groups(self.parts, self.n_batch - 1)

    def members(self, part: Tensor) -> tuple[int, ...]:
        """Axes of a part that index its members."""
        return tuple(range(self.n_batch + 1, part.ndim))

    def zeros(self) -> Tensor:
        """One float64 zero per group."""
        return self.parts[0].new_zeros(self.shape, dtype=torch.float64)

    def map(self, function: Callable[[Tensor], Tensor]) -> "Groups":
        """Apply a function to every part."""
        return Groups(tuple(function(part) for part in self.parts), self.n_batch)

    def take(self, chosen: Tensor) -> "Groups":
        """Copy chosen groups of every batch item."""
        return self.map(lambda part: _select(part, self.n_batch, chosen))

    def sample(self) -> "Groups":
        """Copy the magnitudes of an eighth of the members, if there are many."""
        return self.map(lambda part: _windows(part, self.n_batch + 1))


def split(matrix: Tensor | Coupled, dim: Dim) -> Groups:
    """View a tensor as groups along one axis, along nested axes from outer to inner, or whole as one group.

    Axes left of `dim`, and of the last two (or of one more than are named), are a batch. Outer axes join it: each
    outer group is then a batch item of inner groups, which have one member if no axis is left for members.
    """
    if isinstance(matrix, Coupled):
        moved = (tensor.movedim(at, 0) for tensor, at in zip(matrix.tensors, matrix.dims, strict=True))
        return Groups(tuple(part if part.ndim > 1 else part.unsqueeze(-1) for part in moved), n_batch=0)
    if not matrix.is_floating_point():
        raise ValueError(f"matrix: must be of a floating-point type, got {matrix.dtype}")
    if dim is None:
        return Groups((matrix.unsqueeze(0) if matrix.ndim else matrix.reshape(1, 1),), n_batch=0)
    if isinstance(dim, tuple) and matrix.ndim == len(dim):
        matrix = matrix.unsqueeze(-1)
    named = dim if isinstance(dim, tuple) else (dim,)
    n_own = len(named) + 1
    axes = [at % matrix.ndim for at in named if -matrix.ndim <= at < matrix.ndim]
    if matrix.ndim < n_own or len(set(axes)) < len(named):
        raise ValueError(f"matrix: needs {n_own} dimensions, dim among them, got {tuple(matrix.shape)}, dim={dim}")
    n_batch = min(*axes, matrix.ndim - n_own)
    moved_to = list(range(n_batch, n_batch + len(axes)))
    return Groups((matrix.movedim(axes, moved_to),), moved_to[-1])


def spread(vector: Tensor, part: Tensor) -> Tensor:
    """Shape a vector over groups so that it broadcasts against their entries."""
    return vector[(...,) + (None,) * (part.ndim - vector.ndim)]


def _select(part: Tensor, axis: int, chosen: Tensor) -> Tensor:
    """Copy slices along an axis, keeping the order of the axes in memory."""
    order = sorted(range(part.ndim), key=part.stride, reverse=True)
    copied = part.permute(order).index_select(order.index(axis), chosen)
    return copied.permute([order.index(at) for at in range(part.ndim)])


def _windows(part: Tensor, first_member: int) -> Tensor:
    """Copy windows of the longest member axis, if it is long."""
    axis = max(range(first_member, part.ndim), key=part.size)
    size = part.size(axis)
    if size < _LONG:
        return part
    return part.movedim(axis, -1).unfold(-1, size // 64, size // 8).abs().flatten(-2)
