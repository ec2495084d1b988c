"""Find the caps above which each group has a given l1 length, by Newton steps without sorting."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from compressor.numerics.groups import Groups
from compressor.numerics.reductions import excess

Rule = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""Function of the sum and the number of the members above each cap: the sum less the wanted length.

The third argument marks the caps above 0. With it, lengths that couple the groups may be too small; without it, they
must be exact.
"""

_ROUGH = 1e-2  # precision of the start: a sample of the members has an error of that order
_VISITS = 100  # at most 17 were ever seen; only rounding could make it loop
_COPY = 32 << 20  # bytes of groups to copy at most: fresh pages cost more than visits to all the groups


def thresholds(groups: Groups, lengths: Tensor) -> Tensor:
    """Find the threshold that shortens each group to an l1 length; infinite lengths need none."""
    is_dead = lengths == 0
    needed = torch.where(is_dead, math.inf, lengths)
    caps = find_caps(groups, lambda sums, counts, held: sums - needed)
    return _round_up(torch.where(is_dead, math.inf, caps), groups.dtype)


def find_caps(groups: Groups, rule: Rule, guess: Rule | None = None) -> Tensor:
    """Solve ``sum(max(|members| - cap, 0)) == length`` for each group's cap >= 0; 0 if the sum is less.

    The lengths may be given, or couple the groups. Each step solves for the tangents of the convex sums at the
    current caps: from any start, the next step is not beyond the solution, and finitely many steps reach it.

    Parameters
    ----------
    groups : Groups
        Members of any sign.
    rule : function of three vectors
        Of the sum and the number of the members above the caps: returns the sum less the length.
    guess : function of three vectors, optional
        Rule for the sample of members from which the start is found; by default ``rule``.

    Returns
    -------
    Tensor
        Cap of each group, in float64; differentiable where the groups and the rule are.

    Notes
    -----
    Ends when no cap moves by more than rounding, relative to the largest mean of the members above a cap. A cap that
    is lost in rounding is 0. Only the groups whose cap still moves are visited again.
    """
    precision = 8 * torch.finfo(groups.dtype).eps
    with torch.no_grad():
        caps, sums, counts = _search(groups, rule, _start(groups, guess or rule), precision)
    if groups.wants_gradient:
        sums, counts = _above(groups, caps)
    caps = (rule(sums, counts, None) / counts).clamp(min=0)
    return torch.where(caps <= precision * _scale(sums, counts), 0.0, caps)


def _search(groups: Groups, rule: Rule, caps: Tensor, precision: float) -> tuple[Tensor, Tensor, Tensor]:
    """Step until no cap moves; return the caps last visited, with the sums and counts above them."""
    sums, counts = groups.zeros(), groups.zeros()
    all_groups = torch.arange(caps.shape[-1], device=caps.device)
    current, visited = groups, all_groups
    for _ in range(_VISITS):
        caps = caps.to(groups.dtype).double()
        sums[..., visited], counts[..., visited] = _above(current, caps[..., visited])
        risen = (rule(sums, counts, _held(caps)) / counts).clamp(min=0)
        moves = _in_any_item((risen - caps).abs() > precision * _scale(sums, counts))
        moving = moves.nonzero().flatten()
        if len(moving) == 0:
            break
        if int(moves[visited].sum()) < len(moving):  # some that had stopped are moved by the others
            current, visited = groups, all_groups
        if len(moving) <= len(visited) * min(0.5, _COPY / max(1, current.n_bytes)):
            current, visited = current.take(moves[visited].nonzero().flatten()), moving
        caps[..., visited] = risen[..., visited]
    return caps, sums, counts


def _start(groups: Groups, rule: Rule) -> Tensor:
    """Caps of a sample of the members; 0 where there are too few to sample."""
    sample = groups.sample()
    if sample.n_entries == groups.n_entries:
        return groups.zeros()
    share = sample.n_entries / groups.n_entries

    def scaled(sums: Tensor, counts: Tensor, held: Tensor | None) -> Tensor:
        return rule(sums / share, counts / share, held) * share

    return _search(sample, scaled, _start(sample, scaled), _ROUGH)[0]


def _above(groups: Groups, caps: Tensor) -> tuple[Tensor, Tensor]:
    """Sum and number of the members above the caps; a cap above them all, by rounding, counts as one of them."""
    sums, counts = excess(groups, caps)
    counts = counts.clamp(min=1)
    return sums + counts * caps, counts


def _held(caps: Tensor) -> Tensor:
    """Mask of the caps above 0; all of them before the first step."""
    held = caps > 0
    return held | ~held.any(-1, keepdim=True)


def _scale(sums: Tensor, counts: Tensor) -> Tensor:
    """Largest mean of the members above a cap, to which rounding is relative."""
    return (sums / counts).amax(-1, keepdim=True) if sums.shape[-1] else sums


def _in_any_item(flags: Tensor) -> Tensor:
    """Mask of the groups that are flagged in any batch item."""
    return flags.reshape(math.prod(flags.shape[:-1]), flags.shape[-1]).any(0)


def _round_up(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Round values up to a type, after adding the rounding error of the sums that they come from.

    If it were shortened by less, a group of large entries would not land inside a small ball.
    """
    with torch.no_grad():
        slack = 4 * torch.finfo(torch.float64).eps * values
        nearest = (values + slack).to(dtype)
        above = nearest.nextafter(torch.full_like(nearest, math.inf))
        raised = torch.where(nearest.double() < values - slack, above, nearest).double()
        correction = torch.where(values.isfinite(), raised - values, 0.0)
    return values + correction
