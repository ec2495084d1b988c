"""Quantiles of Student's t for whole degrees of freedom: a board has no scipy."""

import math

N_HALVINGS = 60  # of a quarter circle: far below the rounding of the sum


def quantile(probability: float, n_free: int) -> float:
    """Give the value that Student's t stays below with a probability.

    Parameters
    ----------
    probability : float, in (0, 1)
        How often the value is not exceeded.
    n_free : int, >= 1
        Degrees of freedom.

    Returns
    -------
    float
        Exact to about 1e-9 relative, found by halving the angle whose tangent it is.

    Examples
    --------
    >>> round(quantile(0.75, 1), 9)
    1.0
    >>> round(quantile(0.995, 9), 4)
    3.2498
    """
    if probability < 0.5:
        return -quantile(1 - probability, n_free)
    low, high = 0.0, math.pi / 2
    for _ in range(N_HALVINGS):
        middle = (low + high) / 2
        is_below = _within(middle, n_free) < 2 * probability - 1
        low, high = (middle, high) if is_below else (low, middle)
    return math.sqrt(n_free) * math.tan(low)


def _within(angle: float, n_free: int) -> float:
    """Probability that |t| stays below sqrt(n_free) tan(angle): Abramowitz and Stegun, 26.7.3 and 26.7.4."""
    sine, cosine = math.sin(angle), math.cos(angle)
    is_odd = n_free % 2
    term, total = cosine if is_odd else 1.0, 0.0
    for k in range(1 + is_odd, n_free, 2):
        total += term
        term *= cosine**2 * k / (k + 1)
    return 2 / math.pi * (angle + sine * total) if is_odd else sine * total
