"""Projection of non-negative values onto weighted simplices, in float64, along the last dimension."""

import math

import torch
from torch import Tensor

from compressor.numerics import arguments

_EPS, _TINY = torch.finfo(torch.float64).eps, torch.finfo(torch.float64).tiny


def lower(heights: Tensor, masses: Tensor | None, volume: float | Tensor) -> tuple[Tensor, Tensor]:
    """Lower heights to 0 or more by the level that leaves ``sum(masses * lowered) == volume``, if there was more.

    Each prefix of the descending heights proposes a level, and the largest is right. Everything is measured from the
    top, so that a small volume under large heights keeps its digits. Also returns whether there was more.
    """
    n = heights.shape[-1]
    if n == 0:
        return heights, heights > 0
    descending, order = heights.sort(dim=-1, descending=True)
    top = descending[..., :1].detach()
    depths = descending - top
    if masses is None:
        total = heights.sum(-1, keepdim=True)
        proposals = (depths.cumsum(-1) - volume) / torch.arange(1, n + 1, device=heights.device)
    else:
        total, taken = (masses * heights).sum(-1, keepdim=True), masses.gather(-1, order)
        proposals = ((taken * depths).cumsum(-1) - volume) / taken.cumsum(-1)
    level = proposals.amax(-1, keepdim=True).maximum(-top)
    lowered = heights - top - level
    dust = -(n + 32) * _EPS * level  # rounding error of the sums for a height at the level
    return lowered.masked_fill(lowered <= dust, 0.0), total > volume


def propose(heights: Tensor, masses: Tensor, volume: float | Tensor, held: Tensor) -> Tensor:
    """Find the level on the assumption that it is below all the held heights; the right one is never lower."""
    masses = masses * held
    return (((masses * heights).sum(-1, keepdim=True) - volume) / masses.sum(-1, keepdim=True)).clamp(min=0)


def shrink(values: Tensor, radius: float | Tensor, weights: Tensor | None) -> Tensor:
    """Project values onto ``sum(weights * values) <= radius``; infinity means no limit, if they are inside."""
    limit = arguments.as_radius(radius, values)
    if weights is None:
        shrunk, was_outside = lower(values, None, limit)
    else:
        weights = arguments.as_weights(weights, values)
        lowered, was_outside = lower(values / weights, weights.square().expand_as(values), limit)
        shrunk = weights * lowered
    return shrunk.masked_fill(~was_outside, math.inf)


def ratio(shrunk: Tensor, values: Tensor) -> Tensor:
    """Divide the result of `shrink` by its values: 1 where there is no limit, 0 for a value of 0 that has one."""
    has_limit = shrunk.isfinite()
    return torch.where(has_limit, shrunk.masked_fill(~has_limit, 0.0) / values.clamp(min=_TINY), 1.0)


def total(values: Tensor, weights: Tensor | None) -> Tensor:
    """Weighted sum of the values."""
    return (values * arguments.as_weights(weights, values)).sum(-1)


def peak(values: Tensor, weights: Tensor | None = None) -> Tensor:
    """Largest ratio of a value to its weight, the dual of `total`; 0 if there are no values."""
    heights = values / arguments.as_weights(weights, values)
    return heights.amax(-1) if heights.shape[-1] else heights.sum(-1)


def radius_for(values: Tensor, weights: Tensor | None, sparsity: float) -> float | Tensor:
    """Radius at which `shrink` zeroes the fraction `sparsity` of the values."""
    arguments.require_finite(values)
    weights = arguments.as_weights(weights, values)
    heights = values / weights
    above = (heights - quantile(heights, sparsity)).clamp(min=0)
    return arguments.as_number((weights.square() * above).sum(-1))


def quantile(heights: Tensor, sparsity: float) -> Tensor:
    """Largest height among the fraction `sparsity` of lowest ones; 0 if that is none of them."""
    if not 0 <= sparsity <= 1:
        raise ValueError(f"column_sparsity: must lie in [0, 1], got {sparsity!r}")
    n_dead = round(sparsity * heights.shape[-1])
    if n_dead == 0:
        return heights.new_zeros((*heights.shape[:-1], 1))
    return heights.kthvalue(n_dead, dim=-1, keepdim=True).values
