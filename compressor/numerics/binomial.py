"""Confidence interval of a fraction that was found by counting."""

from scipy.special import betaincinv


def interval(n_found: int, n_tried: int, level: float = 0.95) -> tuple[float, float]:
    """Bound the probability of an event from its count, by the interval of Clopper and Pearson.

    For every count, it contains the true probability at least as often as ``level`` says; the interval of the normal
    approximation does not, and has width zero if the event was found never or always.

    Parameters
    ----------
    n_found : int, 0 to n_tried
        Number of trials in which the event was found.
    n_tried : int, >= 1
        Number of independent trials.
    level : float, in (0, 1)
        Confidence level; the probability of missing is at most half of the rest at each end.

    Returns
    -------
    tuple of float
        Lower and upper bound, in [0, 1].

    References
    ----------
    .. [1] C. J. Clopper, E. S. Pearson, "The use of confidence or fiducial limits illustrated in the case of the
       binomial", Biometrika 26(4), 1934, doi:10.1093/biomet/26.4.404.

    Examples
    --------
    Never in ten trials: the upper bound is 1 - 0.025 ** (1 / 10).

    >>> low, high = interval(0, 10)
    >>> low, round(high, 4)
    (0.0, 0.3085)
    """
    missed = (1 - level) / 2
    low = float(betaincinv(n_found, n_tried - n_found + 1, missed)) if n_found > 0 else 0.0
    high = float(betaincinv(n_found + 1, n_tried - n_found, 1 - missed)) if n_found < n_tried else 1.0
    return low, high
