"""Norm balls: one file each, with its norm, its dual norm and the map into it.

Every file defines the names of `Ball`. A ball that zeroes whole columns, which `surgery` can remove, defines those of
`ColumnBall`; one that zeroes anything at all has a ``radius_for``.
"""

from typing import Protocol, cast

from torch import Tensor

from compressor.numerics.groups import Coupled, Grouped

__all__ = ["Ball", "ColumnBall", "Coupled", "radius_for"]


class Ball(Protocol):
    """The names that a file in this folder defines."""

    EXACT: bool
    """Whether `project` returns the nearest point of the ball, rather than just some point in it."""
    ZEROES: str
    """The parts that `project` sets to zero: ``columns``, ``entries``, ``ranks`` (singular values) or ``nothing``."""

    def norm(self, tensor: Tensor, /) -> Tensor:
        """Norm whose ball this is: a scalar in the dtype of ``tensor``, or float32 for half precision."""

    def dual_norm(self, tensor: Tensor, /) -> Tensor:
        """Largest inner product of ``tensor`` with a point of norm one: a scalar like that of `norm`."""

    def project(
        self, tensor: Tensor, radius: float | Tensor, /, *, out: Tensor | None = None, check_finite: bool = True
    ) -> Tensor:
        """Map a tensor into the ball; one that lies in it stays as it is.

        Parameters
        ----------
        tensor : Tensor, any shape
            Entries; all of them form one vector.
        radius : float or scalar Tensor, >= 0
            Largest norm of the result, in the unit of the entries.
        out : Tensor, as ``tensor``, optional
            Where to write; ``tensor`` itself is allowed.
        check_finite : bool
            Refuse NaN and infinity; a hot loop may skip it.

        Returns
        -------
        Tensor, as ``tensor``
            ``out``, or a new tensor; never a view. Differentiable in ``tensor`` and ``radius``, and in weights
            where the ball takes them.

        Raises
        ------
        ValueError
            If ``tensor`` is not finite, ``radius`` < 0, or a weight <= 0.
        """


class ColumnBall(Ball, Protocol):
    """The names that the file of a ball of whole columns defines; its norm is the sum of a norm of each column."""

    def norm(self, matrix: Tensor | Coupled, /, *, dim: int = -1, weights: Tensor | None = None) -> Tensor:
        """Sum over columns of their norms, each times its weight; of shape batch. `project` explains the arguments."""

    def dual_norm(self, matrix: Tensor | Coupled, /, *, dim: int = -1, weights: Tensor | None = None) -> Tensor:
        """Largest dual norm of a column, each divided by its weight; of shape batch."""

    def radius_for(
        self, matrix: Tensor | Coupled, column_sparsity: float, /, *, dim: int = -1, weights: Tensor | None = None
    ) -> float | Tensor:
        """Radius at which `project` zeroes a share of the columns.

        Parameters
        ----------
        matrix, dim, weights
            As in `project`.
        column_sparsity : float, 0 to 1
            Fraction of the columns that become zero, rounded to whole columns. In a ball whose ``ZEROES`` is
            ``entries``, each entry counts as a column of its own, in one of ``ranks`` each singular value; in one of
            nested groups, each outer slice does.

        Returns
        -------
        float, or Tensor of shape batch
            A number for one matrix, a tensor for a batch.
        """

    def project(
        self,
        matrix: Grouped,
        radius: float | Tensor,
        /,
        *,
        dim: int = -1,
        weights: Tensor | None = None,
        out: Grouped | None = None,
        check_finite: bool = True,
    ) -> Grouped:
        """Map a matrix into the ball; one that lies in it stays as it is.

        Parameters
        ----------
        matrix : Tensor, shape (*batch, n_rows, n_columns), or Coupled
            Weights of a network; one column holds every weight that belongs to one unit.
        radius : float or Tensor, shape batch, >= 0
            Largest norm of the result, in the unit of the weights.
        dim : int
            Axis that indexes the columns.
        weights : Tensor, shape (n_columns,) or (*batch, n_columns), > 0, optional
            Factor of each column in the norm: a heavier column shrinks sooner.
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
        """


def radius_for(ball: Ball, matrix: Tensor, column_sparsity: float) -> float | Tensor:
    """Radius at which a ball zeroes a share of the columns: its own ``radius_for``, which not every ball has.

    Raises
    ------
    ValueError
        If the ball zeroes nothing.
    """
    if ball.ZEROES == "nothing":
        raise ValueError("this ball zeroes nothing, whatever its radius; choose another")
    return cast(ColumnBall, ball).radius_for(matrix, column_sparsity)
