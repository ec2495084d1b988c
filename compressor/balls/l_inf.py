"""The l_inf ball of a tensor of any shape."""

from torch import Tensor

from compressor.numerics import arguments, maps, reductions, simplex
from compressor.numerics.groups import split

EXACT = True
ZEROES = "nothing"


def norm(tensor: Tensor) -> Tensor:
    """Largest magnitude."""
    entries = split(tensor, None)
    return reductions.largest(entries)[0].to(entries.dtype)


def dual_norm(tensor: Tensor) -> Tensor:
    """Sum of magnitudes."""
    entries = split(tensor, None)
    return reductions.l1(entries)[0].to(entries.dtype)


def project(tensor: Tensor, radius: float | Tensor, *, out: Tensor | None = None, check_finite: bool = True) -> Tensor:
    """Project a tensor onto the l_inf ball: clip it at the radius.

    Parameters, result and errors: `compressor.balls.Ball.project`.

    Examples
    --------
    >>> import torch
    >>> project(torch.tensor([3.0, -0.5]), radius=1.0)
    tensor([ 1.0000, -0.5000])
    """
    maximum = reductions.largest(split(tensor, None))
    if check_finite:
        arguments.require_finite(maximum)
    return maps.apply(maps.clip, tensor, simplex.shrink(maximum, radius, None), dim=None, out=out)
