"""The l2 ball of a tensor of any shape."""

from torch import Tensor

from compressor.numerics import arguments, maps, reductions, simplex
from compressor.numerics.groups import split

EXACT = True
ZEROES = "nothing"


def norm(tensor: Tensor) -> Tensor:
    """Root of the sum of squares."""
    entries = split(tensor, None)
    return reductions.l2(entries)[0].to(entries.dtype)


dual_norm = norm


def project(tensor: Tensor, radius: float | Tensor, *, out: Tensor | None = None, check_finite: bool = True) -> Tensor:
    """Project a tensor onto the l2 ball: scale it down to the radius.

    Parameters, result and errors: `compressor.balls.Ball.project`.

    Examples
    --------
    >>> import torch
    >>> project(torch.tensor([3.0, -4.0]), radius=1.0)
    tensor([ 0.6000, -0.8000])
    """
    length = reductions.l2(split(tensor, None))
    if check_finite:
        arguments.require_finite(length)
    factor = simplex.ratio(simplex.shrink(length, radius, None), length)
    return maps.apply(maps.scale, tensor, factor, dim=None, out=out)
