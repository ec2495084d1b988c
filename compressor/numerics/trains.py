"""Tensor trains: successive truncated SVDs, and which ranks a train can have."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from compressor.numerics import rank_tuples


def split(tensor: Tensor, rank: Sequence[int]) -> list[Tensor]:
    """Write a tensor as a train of cores of shape (*batch, rank, size, next rank), by truncated SVDs from the left.

    References
    ----------
    .. [1] I. V. Oseledets, "Tensor-train decomposition", 2011, DOI 10.1137/090752286; algorithm 1.
    """
    order = len(rank) - 1
    batch, sizes = tensor.shape[: tensor.ndim - order], tensor.shape[tensor.ndim - order :]
    cores, rest = [], tensor
    for size, before, after in zip(sizes[:-1], rank[:-2], rank[1:-1], strict=True):
        rest = rest.reshape(*batch, before * size, -1)
        left, values, right = torch.linalg.svd(rest, full_matrices=False)
        cores.append(left[..., :after].reshape(*batch, before, size, after))
        rest = values[..., :after].unsqueeze(-1) * right[..., :after, :]
    return [*cores, rest.reshape(*batch, rank[-2], sizes[-1], rank[-1])]


def n_params(sizes: Sequence[int], rank: Sequence[int]) -> int:
    """Count the numbers in the cores."""
    return sum(before * size * after for before, size, after in zip(rank[:-1], sizes, rank[1:], strict=True))


def fits(sizes: Sequence[int], rank: Sequence[int]) -> bool:
    """Whether the ends are 1 and no inner rank is beyond what the core on either side can have."""
    if len(rank) != len(sizes) + 1 or rank[0] != 1 or rank[-1] != 1 or min(rank) < 1:
        return False
    neighbours = zip(rank[:-1], sizes, rank[1:], strict=True)
    return all(after <= before * size and before <= size * after for before, size, after in neighbours)


def check(sizes: Sequence[int], rank: Sequence[int]) -> None:
    """Refuse ranks that a train of these sizes cannot have."""
    if not fits(sizes, rank):
        raise ValueError(
            f"rank: must be {len(sizes) + 1} ranks with 1 at both ends, none above the size times the rank next to it "
            f"on either side, for sizes {tuple(sizes)}; got {tuple(rank)}"
        )


def halved(sizes: Sequence[int], budget: float) -> tuple[int, ...]:
    """Choose ranks that truncate the bond between the most equal halves and are full elsewhere.

    The train is then as good as the truncated SVD of the halves. A budget below its rank 1 is spread over all ranks.
    """
    most = rank_tuples.affordable(budget, sizes, sum(sizes))
    bond = max(range(1, len(sizes)), key=lambda i: min(math.prod(sizes[:i]), math.prod(sizes[i:])), default=0)
    halves = min(math.prod(sizes[:bond]), math.prod(sizes[bond:]))
    cut = rank_tuples.largest(halves, lambda rank: n_params(sizes, _cut(sizes, bond, rank)) <= most)
    start = _cut(sizes, bond, cut) if cut else (1,) * (len(sizes) + 1)
    return rank_tuples.grown(start, lambda rank: fits(sizes, rank) and n_params(sizes, rank) <= most)


def equal(sizes: Sequence[int], budget: float) -> tuple[int, ...]:
    """Choose ranks that are equal, but where a train cannot have them and for what fills the budget."""
    most = rank_tuples.affordable(budget, sizes, sum(sizes))
    full = [min(math.prod(sizes[:i]), math.prod(sizes[i:])) for i in range(len(sizes) + 1)]

    def capped(rank: int) -> tuple[int, ...]:
        return tuple(min(rank, each) for each in full)

    def counted(rank: tuple[int, ...]) -> int:
        return n_params(sizes, rank)

    def allowed(rank: tuple[int, ...]) -> bool:
        return fits(sizes, rank) and counted(rank) <= most

    start = capped(rank_tuples.largest(max(full), lambda rank: counted(capped(rank)) <= most))
    return rank_tuples.filled(start, allowed, counted, full)


def _cut(sizes: Sequence[int], bond: int, rank: int) -> tuple[int, ...]:
    """Ranks with ``rank`` at a bond and full ranks elsewhere."""
    before = [min(math.prod(sizes[:i]), math.prod(sizes[i:bond]) * rank) for i in range(bond)]
    after = [min(math.prod(sizes[i:]), math.prod(sizes[bond:i]) * rank) for i in range(bond + 1, len(sizes) + 1)]
    return (*before, rank, *after)
