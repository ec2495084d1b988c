"""Thresholds of weighted simplices and l1 balls, in float64, along the last dimension."""

import torch
from torch import Tensor

_SNAP = 32 * torch.finfo(torch.float64).eps  # rounding of the level, relative to the largest value


def level(heights: Tensor, masses: Tensor, volume: Tensor) -> Tensor:
    """Find the level >= 0 with ``sum(masses * max(heights - level, 0)) == volume``; 0 if there is less.

    Each prefix of the descending heights gives a candidate, and the level is the largest of them.
    """
    if heights.shape[-1] == 0:
        return volume.new_zeros((*heights.shape[:-1], 1))
    order = heights.argsort(dim=-1, descending=True)
    sorted_heights, sorted_masses = heights.gather(-1, order), masses.gather(-1, order)
    filled = (sorted_heights * sorted_masses).cumsum(-1) - volume
    rough = (filled / sorted_masses.cumsum(-1)).amax(-1, keepdim=True)
    above = masses * (heights > rough)  # summed again, pairwise: the running sums lose digits
    mass = above.sum(-1, keepdim=True)
    exact = ((above * heights).sum(-1, keepdim=True) - volume) / mass
    return torch.where(mass > 0, exact, rough).clamp(min=0)


def shrink(values: Tensor, radius: Tensor, weights: Tensor) -> Tensor:
    """Project non-negative values onto ``sum(weights * values) <= radius``."""
    threshold = level(values / weights, weights.square(), radius)
    if values.numel() == 0:
        return values
    shrunk = values - threshold * weights
    dust = _SNAP * values.amax(-1, keepdim=True)
    return torch.where(threshold > 0, torch.where(shrunk > dust, shrunk, 0.0), values)


def radius_for(values: Tensor, weights: Tensor, sparsity: float) -> float | Tensor:
    """Radius at which `shrink` zeroes the fraction `sparsity` of the values."""
    ratios, order = (values / weights).sort(dim=-1, descending=True)
    threshold = quantile(ratios, sparsity)
    radius = (weights.square().expand_as(values).gather(-1, order) * (ratios - threshold).clamp(min=0)).sum(-1)
    return radius if radius.ndim else float(radius)


def quantile(descending: Tensor, sparsity: float) -> Tensor:
    """Largest of the values to zero; 0 where none is."""
    if not 0 <= sparsity <= 1:
        raise ValueError(f"column_sparsity: must lie in [0, 1], got {sparsity!r}")
    n = descending.shape[-1]
    n_live = n - round(sparsity * n)
    return descending[..., n_live : n_live + 1] if n_live < n else descending.new_zeros((*descending.shape[:-1], 1))


def as_radius(radius: float | Tensor, values: Tensor) -> Tensor:
    """Check a radius, or one per batch item, and shape it against the values of each group."""
    radius = torch.as_tensor(radius, dtype=torch.float64, device=values.device)
    if not bool((radius >= 0).all()):
        raise ValueError(f"radius: must be >= 0, got {radius.tolist()!r}")
    if radius.ndim and radius.shape != values.shape[:-1]:
        raise ValueError(f"radius: must have the batch's shape {tuple(values.shape[:-1])}, got {tuple(radius.shape)}")
    return radius.expand(values.shape[:-1]).unsqueeze(-1)


def as_weights(weights: Tensor | None, values: Tensor) -> Tensor:
    """Check the weights and give them the shape and type of the values; ones by default."""
    if weights is None:
        return torch.ones_like(values)
    weights = torch.as_tensor(weights, dtype=values.dtype, device=values.device)
    if not bool((weights.isfinite() & (weights > 0)).all()):
        raise ValueError("weights: must be finite and > 0")
    return weights.expand(values.shape)
