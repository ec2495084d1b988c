"""The l1,inf ball, reached in two levels: column maxima first, then each column."""

from torch import Tensor

from compressor.numerics import groups, simplex
from compressor.numerics.groups import Coupled, Grouped

EXACT = False  # ``project`` lands in the ball, but not always on its nearest point
ZEROES = "columns"


def norm(matrix: Tensor | Coupled, *, dim: int = -1, weights: Tensor | None = None) -> Tensor:
    """Sum over columns of the largest magnitude in each column."""
    columns = groups.split(matrix, dim)
    maxima = groups.largest(columns)
    return (simplex.as_weights(weights, maxima) * maxima).sum(-1).to(columns.dtype)


def dual_norm(matrix: Tensor | Coupled, *, dim: int = -1, weights: Tensor | None = None) -> Tensor:
    """Largest l1 norm of a column."""
    columns = groups.split(matrix, dim)
    sums = groups.l1(columns)
    return groups.peak(sums / simplex.as_weights(weights, sums)).to(columns.dtype)


def radius_for(
    matrix: Tensor | Coupled, column_sparsity: float, *, dim: int = -1, weights: Tensor | None = None
) -> float | Tensor:
    """Radius at which ``project`` zeroes the fraction ``column_sparsity`` of the columns."""
    maxima = groups.largest(groups.split(matrix, dim))
    return simplex.radius_for(maxima, simplex.as_weights(weights, maxima), column_sparsity)


def project(
    matrix: Grouped,
    radius: float | Tensor,
    *,
    dim: int = -1,
    weights: Tensor | None = None,
    out: Grouped | None = None,
    check_finite: bool = True,
) -> Grouped:
    """Map a matrix into the l1,inf ball by the bi-level rule.

    The vector of column maxima is projected onto the simplex, then each
    column is clipped at its new maximum. A column whose maximum reaches zero
    vanishes whole, which is what `surgery` can remove from the network.

    Parameters
    ----------
    matrix : Tensor, shape (*batch, n_rows, n_columns), or Coupled
        Weights; one column holds every weight that belongs to one unit.
    radius : float or Tensor of the batch's shape, >= 0
        Radius of the ball, in the unit of the weights.
    dim : int
        Axis that indexes the columns; -2 takes rows for columns.
    weights : Tensor, shape (n_columns,) or (*batch, n_columns), > 0, optional
        Factor of each column's maximum in the norm: a heavier column shrinks sooner.
    out : as ``matrix``, optional
        Where to write; ``matrix`` itself is allowed.
    check_finite : bool
        Refuse NaN and infinity; hot loops may skip it.

    Returns
    -------
    as ``matrix``
        ``out``, or a new tensor of the same dtype and device; never a view.

    Raises
    ------
    ValueError
        If ``matrix`` is not finite, ``radius`` < 0 or a weight <= 0.

    Notes
    -----
    Time O(n_rows n_columns + n_columns log n_columns). The threshold is found
    in float64: in float32 a small radius against a large norm loses it.

    References
    ----------
    .. [1] M. Barlaud, G. Perez, J.-P. Marmorat, "Linear time bi-level l1,inf
       projection", 2024, arXiv:2407.16293.

    Examples
    --------
    >>> import torch
    >>> weights = torch.tensor([[3.0, -1.0, 0.5], [-4.0, 2.0, 0.0]])
    >>> norm(weights)
    tensor(6.5000)
    >>> project(weights, radius=4.0)
    tensor([[ 3., -1.,  0.],
            [-3.,  1.,  0.]])
    """
    columns = groups.split(matrix, dim)
    maxima = groups.largest(columns)
    if check_finite:
        groups.require_finite(maxima)
    caps = simplex.shrink(maxima, simplex.as_radius(radius, maxima), simplex.as_weights(weights, maxima))
    return groups.deliver(matrix, dim, groups.clip(columns, caps), out)
