"""The l1 ball of a tensor of any shape, with an optional weight for each entry."""

from torch import Tensor

from compressor.numerics import arguments, caps, maps, reductions, simplex
from compressor.numerics.groups import split

EXACT = True
ZEROES = "entries"


def norm(tensor: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """Sum of magnitudes, each times its weight."""
    entries = split(tensor if weights is None else tensor * weights, None)
    return reductions.l1(entries)[0].to(entries.dtype)


def dual_norm(tensor: Tensor, *, weights: Tensor | None = None) -> Tensor:
    """Largest magnitude, each divided by its weight."""
    entries = split(tensor if weights is None else tensor / weights, None)
    return reductions.largest(entries)[0].to(entries.dtype)


def radius_for(tensor: Tensor, column_sparsity: float, *, weights: Tensor | None = None) -> float | Tensor:
    """Radius at which ``project`` zeroes the fraction ``column_sparsity`` of the entries."""
    flat = None if weights is None else weights.flatten()
    return simplex.radius_for(tensor.abs().double().flatten(), flat, column_sparsity)


def project(
    tensor: Tensor,
    radius: float | Tensor,
    *,
    weights: Tensor | None = None,
    out: Tensor | None = None,
    check_finite: bool = True,
) -> Tensor:
    """Project a tensor onto the l1 ball: every magnitude is shortened by the same length.

    Other parameters, result and errors: `compressor.balls.Ball.project`.

    Parameters
    ----------
    weights : Tensor, as ``tensor``, > 0, optional
        Factor of each entry in the norm, which shortens it in proportion.

    Notes
    -----
    A few passes over the entries without weights; with weights they are sorted.

    References
    ----------
    .. [1] L. Condat, "Fast projection onto the simplex and the l1 ball",
       Math. Program. 158, 2016, doi:10.1007/s10107-015-0946-6.

    Examples
    --------
    >>> import torch
    >>> project(torch.tensor([3.0, -2.0, 0.5]), radius=2.0)
    tensor([ 1.5000, -0.5000,  0.0000])
    """
    entries = split(tensor, None)
    length = reductions.l1(entries)
    if check_finite:
        arguments.require_finite(length)
    if weights is None:
        shortened = caps.thresholds(entries, simplex.shrink(length, radius, None))
        return maps.apply(maps.soften, tensor, shortened, dim=None, out=out)
    magnitudes = simplex.shrink(tensor.abs().double().flatten(), radius, weights.flatten())
    return maps.apply(maps.clip, tensor, magnitudes.reshape(1, *tensor.shape), dim=None, out=out)
