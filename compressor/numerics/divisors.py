"""Divide a size into factors."""


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


def _primes(size: int) -> list[int]:
    found, prime = [], 2
    while size > 1:
        while size % prime == 0:
            found.append(prime)
            size //= prime
        prime += 1
    return found
