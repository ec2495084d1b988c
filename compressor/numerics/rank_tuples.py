"""Choose ranks that are several inner sizes within a budget."""

import math
from collections.abc import Callable, Sequence

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
    """Raise ranks by one, the smallest first, until no step fits."""
    current = tuple(rank)
    while True:
        steps = sorted(range(len(current)), key=lambda i: current[i])
        larger = ((*current[:i], current[i] + 1, *current[i + 1 :]) for i in steps)
        following = next(filter(fits, larger), None)
        if following is None:
            return current
        current = following
