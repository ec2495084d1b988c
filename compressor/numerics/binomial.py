"""How far a share that was counted can be from the true one."""

from scipy.special import betaincinv


def interval(n_found: int, n_tried: int, level: float = 0.95) -> tuple[float, float]:
    """Bound the probability of an event that was found so often: the interval of Clopper and Pearson.

    It holds the true probability at least as often as ``level`` says, for every count; that of the normal
    approximation does not, and has no width at all where nothing or everything was found.

    Parameters
    ----------
    n_found : int, 0 to n_tried
        How often the event was found.
    n_tried : int, >= 1
        In how many independent trials.
    level : float, in (0, 1)
        How sure the interval is; each end may be missed with half of the rest.

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
    Nothing in ten: 1 - 0.025 ** (1 / 10).

    >>> low, high = interval(0, 10)
    >>> low, round(high, 4)
    (0.0, 0.3085)
    """
    missed = (1 - level) / 2
    low = float(betaincinv(n_found, n_tried - n_found + 1, missed)) if n_found > 0 else 0.0
    high = float(betaincinv(n_found + 1, n_tried - n_found, 1 - missed)) if n_found < n_tried else 1.0
    return low, high
