"""The l1,inf ball, reached in two levels: column maxima first, then each column."""

from torch import Tensor

from compressor.numerics import arguments, maps, simplex
from compressor.numerics.groups import Coupled, Grouped, split
from compressor.numerics.reductions import l1, largest

EXACT = False  # ``project`` lands in the ball, but not always on its nearest point
ZEROES = "columns"


def norm(matrix: Tensor | Coupled, *, dim: int = -1, weights: Tensor | None = None) -> Tensor:
    """Sum over columns of the largest magnitude in each column."""
    columns = split(matrix, dim)
    return simplex.total(largest(columns), weights).to(columns.dtype)


def dual_norm(matrix: Tensor | Coupled, *, dim: int = -1, weights: Tensor | None = None) -> Tensor:
    """Largest l1 norm of a column."""
    columns = split(matrix, dim)
    return simplex.peak(l1(columns), weights).to(columns.dtype)


def radius_for(
    matrix: Tensor | Coupled, column_sparsity: float, *, dim: int = -1, weights: Tensor | None = None
) -> float | Tensor:
    """Radius at which ``project`` zeroes the fraction ``column_sparsity`` of the columns."""
    return simplex.radius_for(largest(split(matrix, dim)), weights, column_sparsity)


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
    radius : float or Tensor, shape batch, >= 0
        Radius of the ball, in the unit of the weights.
    dim : int
        Axis that indexes the columns.
    weights : Tensor, shape (n_columns,) or (*batch, n_columns), > 0, optional
        Factor of each column's maximum in the norm: a heavier column shrinks sooner.
    out : as ``matrix``, optional
        Where to write; ``matrix`` itself is allowed.
    check_finite : bool
        Refuse NaN and infinity; a hot loop may skip it.

    Returns
    -------
    as ``matrix``
        ``out``, or new tensors of the same dtype and device; never a view. Differentiable in ``matrix``,
        ``radius`` and ``weights``.

    Raises
    ------
    ValueError
        If ``matrix`` is not finite, ``radius`` < 0, or a weight <= 0.

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
    maxima = largest(split(matrix, dim))
    if check_finite:
        arguments.require_finite(maxima)
    caps = simplex.shrink(maxima, radius, weights)
    return maps.apply(maps.clip, matrix, caps, dim=dim, out=out)
