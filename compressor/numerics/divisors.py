"""Divide sizes into factors."""

from collections.abc import Sequence
from math import prod


def divided(size: int, n_factors: int) -> tuple[int, ...]:
    """Write a size as a product of factors that are about equal, in ascending order; 1 where it has too few.

    Examples
    --------
    >>> divided(384, 3), divided(7, 2)
    ((6, 8, 8), (1, 7))
    """
    factors = [1] * n_factors
    for prime in reversed(_primes(size)):
        factors[factors.index(min(factors))] *= prime
    return tuple(sorted(factors))


def divisors(size: int) -> list[int]:
    """List all divisors in ascending order.

    Examples
    --------
    >>> divisors(12)
    [1, 2, 3, 4, 6, 12]
    """
    return [number for number in range(1, size + 1) if size % number == 0]


def deformable_pattern(shape: Sequence[int], n_factors: int | None = None) -> list[tuple[int, int, int, int]]:
    """Give a pattern like a butterfly's for a matrix of any shape, with blocks as equal as the sizes allow.

    By default it has as many factors as the side with fewer prime factors has of them: one for a prime size.

    Examples
    --------
    >>> deformable_pattern((8, 8))
    [(1, 2, 2, 4), (2, 2, 2, 2), (4, 2, 2, 1)]
    >>> deformable_pattern((6, 8))
    [(1, 2, 2, 3), (2, 3, 4, 1)]
    """
    n_factors = n_factors or max(1, min(len(_primes(size)) for size in shape[-2:]))
    rows, columns = (divided(size, n_factors) for size in shape[-2:])
    return [(prod(columns[:i]), rows[i], columns[i], prod(rows[i + 1 :])) for i in range(n_factors)]


def _primes(size: int) -> list[int]:
    found, prime = [], 2
    while size > 1:
        while size % prime == 0:
            found.append(prime)
            size //= prime
        prime += 1
    return found
