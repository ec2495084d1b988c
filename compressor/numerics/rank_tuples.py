"""Choose ranks that are several inner sizes within a budget."""

import math
from collections.abc import Callable, Sequence
from itertools import combinations, permutations

from compressor.numerics import ranks


def affordable(budget: float, shape: Sequence[int], least: int) -> int:
    """Count the numbers that a budget allows; ValueError if fewer than ``least``, those of the smallest ranks."""
    ranks.within(budget, shape, least, most=1)
    return math.floor(budget * math.prod(shape))


def largest(most: int, fits: Callable[[int], bool]) -> int:
    """Largest rank up to ``most`` that fits, where all smaller ones do; 0 if none does."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def grown(rank: Sequence[int], fits: Callable[[tuple[int, ...]], bool]) -> tuple[int, ...]:
    """Raise ranks by one, the smallest first, until no step fits; two at once where none can be raised alone."""
    current = tuple(rank)
    while True:
        places = sorted(range(len(current)), key=lambda i: current[i])
        steps = [*combinations(places, 1), *combinations(places, 2)]
        larger = (tuple(each + (i in step) for i, each in enumerate(current)) for step in steps)
        following = next(filter(fits, larger), None)
        if following is None:
            return current
        current = following


def filled(
    rank: Sequence[int],
    fits: Callable[[tuple[int, ...]], bool],
    n_params: Callable[[tuple[int, ...]], int],
    full: Sequence[int],
) -> tuple[int, ...]:
    """Grow ranks, then lower one, raise another and grow again as long as that comes to more numbers.

    One that starts at its ``full`` size is never lowered.
    """
    current, places = grown(rank, fits), range(len(rank))
    pairs = [(lower, raised) for lower, raised in permutations(places, 2) if rank[lower] < full[lower]]
    while True:
        swapped = (tuple(each - (i == a) + (i == b) for i, each in enumerate(current)) for a, b in pairs)
        best = max((grown(start, fits) for start in swapped if fits(start)), key=n_params, default=current)
        if n_params(best) <= n_params(current):
            return current
        current = best
