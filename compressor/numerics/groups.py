"""Tensors seen as groups: the slices along one axis, of one tensor or of several coupled ones."""

from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class Coupled:
    """Several tensors whose slices at one index form one column, each along its own axis of `dims`."""

    tensors: tuple[Tensor, ...]
    dims: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.tensors) != len(self.dims) or not self.tensors:
            raise ValueError(
                f"coupled: needs one dim per tensor, got {len(self.tensors)} tensors, {len(self.dims)} dims"
            )
        sizes = {tensor.shape[dim] for tensor, dim in zip(self.tensors, self.dims, strict=True)}
        if len(sizes) > 1:
            raise ValueError(f"coupled: dims must have one size, got {sorted(sizes)}")


Grouped = TypeVar("Grouped", Tensor, Coupled)


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
        """Type to accumulate and report in: float32 at least."""
        return torch.promote_types(self.parts[0].dtype, torch.float32)

    def spread(self, vector: Tensor, part: Tensor) -> Tensor:
        """Shape a vector over groups so that it broadcasts against a part."""
        return vector.to(part.dtype)[(...,) + (None,) * (part.ndim - vector.ndim)]


def split(matrix: Tensor | Coupled, dim: int) -> Groups:
    """View a tensor, or coupled ones, as groups; half precision is widened to float32."""
    views = _views(matrix, dim)
    return Groups(tuple(part.to(views.dtype) for part in views.parts), views.n_batch)


def _views(matrix: Tensor | Coupled, dim: int) -> Groups:
    """Move the axis of the groups first; axes left of it and of the last two are a batch."""
    if isinstance(matrix, Coupled):
        moved = (tensor.movedim(at, 0) for tensor, at in zip(matrix.tensors, matrix.dims, strict=True))
        return Groups(tuple(part if part.ndim > 1 else part.unsqueeze(-1) for part in moved), n_batch=0)
    if matrix.ndim < 2 or not -matrix.ndim <= dim < matrix.ndim:
        raise ValueError(f"matrix: needs two dimensions and dim among them, got {tuple(matrix.shape)}, dim={dim}")
    axis = dim % matrix.ndim
    n_batch = min(axis, matrix.ndim - 2)
    return Groups((matrix.movedim(axis, n_batch),), n_batch)


def total(groups: Groups, entries: list[Tensor]) -> Tensor:
    """Sum entries over the members of each group and over the parts."""
    sums = [part.flatten(groups.n_batch + 1).sum(-1, dtype=groups.dtype) for part in entries]
    return torch.stack(sums).sum(0).double()


def largest(groups: Groups) -> Tensor:
    """Largest magnitude in each group, in float64; 0 where a group has no entry."""
    found = torch.zeros(groups.shape, dtype=torch.float64, device=groups.parts[0].device)
    for part in groups.parts:
        if part.numel():
            members = tuple(range(groups.n_batch + 1, part.ndim))
            found = found.maximum(part.amax(members).maximum(-part.amin(members)).double())
    return found


def l1(groups: Groups) -> Tensor:
    """l1 norm of each group, in float64."""
    return total(groups, [part.abs() for part in groups.parts])


def l2(groups: Groups) -> Tensor:
    """l2 norm of each group, in float64."""
    return total(groups, [part.double().square() for part in groups.parts]).sqrt()


def excess(groups: Groups, caps: Tensor) -> tuple[Tensor, Tensor]:
    """Sum and number of the magnitudes above each group's cap, in float64."""
    above = [part.abs() * (part.abs() > groups.spread(caps, part)) for part in groups.parts]
    return total(groups, above), total(groups, [(part > 0).float() for part in above])


def clip(groups: Groups, caps: Tensor) -> list[Tensor]:
    """Clip every entry to its group's cap."""
    return [part.minimum(cap := groups.spread(caps, part)).maximum(-cap) for part in groups.parts]


def scale(groups: Groups, factors: Tensor) -> list[Tensor]:
    """Multiply every entry by its group's factor."""
    return [part * groups.spread(factors, part) for part in groups.parts]


def deliver(matrix: Grouped, dim: int, parts: list[Tensor], out: Grouped | None) -> Grouped:
    """Turn parts back into what `split` was given, in `out` if there is one."""
    result = _empty_like(matrix) if out is None else out
    for target, part in zip(_views(result, dim).parts, parts, strict=True):
        target.copy_(part)
    return result


def _empty_like(matrix: Grouped) -> Grouped:
    if isinstance(matrix, Coupled):
        coupled: Grouped = Coupled(tuple(torch.empty_like(tensor) for tensor in matrix.tensors), matrix.dims)
        return coupled
    return torch.empty_like(matrix)


def peak(values: Tensor) -> Tensor:
    """Largest value along the last dimension; 0 where there is none."""
    return values.amax(-1) if values.shape[-1] else values.sum(-1)


def require_finite(values: Tensor) -> None:
    """Refuse NaN and infinity, seen in what was reduced from the entries."""
    if not bool(values.isfinite().all()):
        raise ValueError("matrix: entries must be finite, found nan or inf")
