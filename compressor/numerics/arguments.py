"""Check the arguments of a projection, and shape them to broadcast against one value per group."""

import math

import torch
from torch import Tensor


def require_finite(values: Tensor) -> None:
    """Refuse NaN and infinity, given values that were reduced from a matrix."""
    if not math.isfinite(float(values.detach().sum())):
        raise ValueError("matrix: entries must be finite, found nan or inf")


def as_number(values: Tensor) -> float | Tensor:
    """Return a Python number, or the tensor of a batch."""
    return values if values.ndim else float(values)


def as_radius(radius: float | Tensor, values: Tensor) -> float | Tensor:
    """Check a radius, or one per batch item, and shape it against the values."""
    if isinstance(radius, Tensor) and radius.ndim:
        if radius.shape != values.shape[:-1]:
            found = tuple(radius.shape)
            raise ValueError(f"radius: must have the batch's shape {tuple(values.shape[:-1])}, got {found}")
        smallest, radius = float(radius.detach().amin()) if radius.numel() else 0.0, radius.to(values).unsqueeze(-1)
    else:
        smallest = float(radius.detach() if isinstance(radius, Tensor) else radius)
    if not smallest >= 0:
        raise ValueError(f"radius: must be >= 0, got {smallest!r}")
    return radius


def as_weights(weights: Tensor | None, values: Tensor) -> Tensor:
    """Check weights, and convert them to the type of the values; ones by default."""
    if weights is None:
        return values.new_ones(values.shape[-1:])
    weights = torch.as_tensor(weights, dtype=values.dtype, device=values.device)
    if not bool((weights.isfinite() & (weights > 0)).all()):
        raise ValueError("weights: must be finite and > 0")
    if weights.shape not in (values.shape, values.shape[-1:]):
        raise ValueError(f"weights: must have the shape {tuple(values.shape)}, got {tuple(weights.shape)}")
    return weights
