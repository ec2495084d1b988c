"""Constraint sets of sparse matrices: one file each, with the map into the set.

Every file defines the names of `ConstraintSet`. A `Constraint` is one of these sets with its size, as
`compressor.transforms` takes it for a factor.
"""

import sys
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

from torch import Tensor

from compressor.plugins import discover

__all__ = ["Constraint", "ConstraintSet"]


class ConstraintSet(Protocol):
    """The names that a file in this folder defines."""

    EXACT: bool
    """Whether `project` returns the nearest point of the set in the Frobenius norm, rather than just some point."""
    CONE: bool
    """Whether every multiple of a point of the set lies in it too."""
    SCALABLE: bool
    """Whether a point stays in the set when its rows and columns are multiplied by positive numbers."""

    def project(self, matrix: Tensor, size: Any, /) -> Tensor:
        """Map a matrix into the set; one that lies in it stays as it is.

        Parameters
        ----------
        matrix : Tensor, shape (*batch, n_rows, n_columns)
            Real or complex entries; each matrix of a batch is mapped by itself.
        size : int, float, tuple or Tensor
            How large the set is: what this means is the file's own, most often a number of entries.

        Returns
        -------
        Tensor, as ``matrix``
            A new tensor of the same dtype and device. Differentiable in ``matrix``, unless the file says otherwise.

        Raises
        ------
        ValueError
            If ``matrix`` is not finite or has fewer than two dimensions, or ``size`` does not fit.
        """


@dataclass(frozen=True, eq=False)
class Constraint:
    """A constraint set with its size, for matrices of one shape.

    Examples
    --------
    >>> import torch
    >>> Constraint("splin", (2, 3), 1).project(torch.tensor([[3.0, 1.0, -2.0], [0.0, -5.0, 4.0]]))
    tensor([[ 3.,  0.,  0.],
            [ 0., -5.,  0.]])
    """

    name: str
    """File of the set."""
    shape: tuple[int, int]
    """Rows and columns of the matrices."""
    size: Any
    """Size of the set, as its file explains it."""

    def __post_init__(self) -> None:
        """Refuse a set that does not exist; ValueError."""
        if self.name not in _sets():
            raise ValueError(f"constraint: no set {self.name!r}; choose from {', '.join(_sets())}")

    @property
    def is_cone(self) -> bool:
        """Whether every multiple of a point lies in the set."""
        return _sets()[self.name].CONE

    @property
    def is_scalable(self) -> bool:
        """Whether points whose rows and columns are multiplied by positive numbers stay in the set."""
        return _sets()[self.name].SCALABLE

    def project(self, matrix: Tensor) -> Tensor:
        """Map matrices into the set, as `ConstraintSet.project`; ValueError for another shape."""
        if tuple(matrix.shape[-2:]) != tuple(self.shape):
            raise ValueError(f"matrix: must have shape {tuple(self.shape)}, got {tuple(matrix.shape[-2:])}")
        return _sets()[self.name].project(matrix, self.size)


@cache
def _sets() -> dict[str, ConstraintSet]:
    return discover(sys.modules[__name__], ConstraintSet)
