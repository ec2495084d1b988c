"""Factorizations of weights: one file each, from a tensor to its factors and back; tensors only.

A file defines the names of `Factorization`. What its factors mean is an `Equation`, from which `compressor.nn` derives
the layer that computes them.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, cast

import torch
from torch import Tensor

from compressor.numerics.metric import Metric, diagonal, fisher, second_moment
from compressor.plugins import discover

__all__ = [
    "Equation",
    "Factorization",
    "Factors",
    "KernelFactorization",
    "Metric",
    "Rank",
    "default_form",
    "diagonal",
    "expanded",
    "fisher",
    "for_kernels",
    "second_moment",
]

Factors = tuple[Tensor, ...]
Rank = int | tuple[int, ...]


@dataclass(frozen=True)
class Equation:
    """A tensor as a sum of contractions of its factors.

    Every axis of a factor has a letter; axes of one letter have one size. Letters that the tensor lacks are summed
    over.
    Rank two is ``Equation((("ir", "rj"),), ("i", "j"))``.
    """

    terms: tuple[tuple[str, ...], ...]
    """Of each term the letters of each factor's axes."""
    axes: tuple[str, ...]
    """Letters of each axis of the tensor: several where an axis is divided, the slowest first. The letters are lower
    case; one that rows and columns share stands for a block diagonal."""
    sparse: tuple[int, ...] = field(default=())
    """Indices of factors whose zeros are a pattern that training must keep."""

    @property
    def factors(self) -> tuple[str, ...]:
        """Letters of all factors, term after term: the order of the tensors."""
        return tuple(letters for term in self.terms for letters in term)

    def sizes(self, factors: Sequence[Tensor]) -> dict[str, int]:
        """Size of each letter; ValueError if the factors do not fit."""
        sizes: dict[str, int] = {}
        for letters, factor in zip(self.factors, factors, strict=True):
            for letter, size in zip(reversed(letters), reversed(factor.shape), strict=False):
                if sizes.setdefault(letter, size) != size:
                    raise ValueError(f"factors: axis {letter!r} has sizes {sizes[letter]} and {size}")
        return sizes

    def rebuild(self, factors: Sequence[Tensor]) -> Tensor:
        """Compute the tensor, shape (*batch, *axes); the factors share their batch dimensions."""
        sizes, rest, terms = self.sizes(factors), list(factors), []
        twins = {letter: letter.upper() for letter in self.axes[0] if letter in "".join(self.axes[1:])}
        result = self.axes[0] + "".join(twins.get(letter, letter) for letter in "".join(self.axes[1:]))
        eyes = [torch.eye(sizes[letter], dtype=rest[0].dtype, device=rest[0].device) for letter in twins]
        for term in self.terms:
            own, rest = rest[: len(term)], rest[len(term) :]
            inputs = ",".join([f"...{letters}" for letters in term] + [letter + twin for letter, twin in twins.items()])
            terms.append(torch.einsum(f"{inputs}->...{result}", *own, *eyes))
        tensor = torch.stack(terms).sum(dim=0) if len(terms) > 1 else terms[0]
        shape = [_product(sizes, letters) for letters in self.axes]
        return tensor.reshape(*tensor.shape[: tensor.ndim - len(result)], *shape)

    def as_matrix(self, n_rows: int) -> "Equation":
        """Join the axes to two: the first ``n_rows`` of them are the rows."""
        return replace(self, axes=("".join(self.axes[:n_rows]), "".join(self.axes[n_rows:])))


def _product(sizes: Mapping[str, int], letters: str) -> int:
    product = 1
    for letter in letters:
        product *= sizes[letter]
    return product


class Factorization(Protocol):
    """The names that a file in this folder defines.

    Some take arguments of their own, the ``form`` of their factors, such as the ``blocks`` of `monarch`; all their
    functions take the same. One whose form has no default may have ``form_for``, which gives one for a shape. One that
    stores its factors in another form than its equation reads has ``expand``.
    """

    USE: Literal["speed", "storage"]
    """What it is for: fewer operations on a CPU, or fewer numbers to store."""
    TAKES: Literal["matrix", "tensor"]
    """Whether it takes matrices, or tensors of any order."""

    def factor(self, tensor: Tensor, /, *, rank: Rank, metric: Metric | None = None, **form: Any) -> Factors:
        """Approximate a tensor by factors of a rank.

        Parameters
        ----------
        tensor : Tensor, shape (*batch, *axes)
            Weights: (n_rows, n_columns) of a matrix, after any batch dimensions; a tensor of any order where the
            method is for tensors.
        rank : int, or tuple of int
            Inner sizes of the factors, as `rank_for` gives them.
        metric : Metric, optional
            Norm of the error; for a tensor of higher order its columns are the last axes. Plain by default.
        **form
            What the method needs to know of the factors' shape.

        Returns
        -------
        tuple of Tensor
            In the dtype and on the device of ``tensor``; computed in float64.

        Raises
        ------
        ValueError
            If the rank or the form does not fit the shape, or the tensor is not finite.
        """

    def rebuild(self, factors: Factors, /) -> Tensor:
        """Compute the tensor that the factors stand for."""

    def equation(self, factors: Factors, /) -> Equation:
        """Say how the factors, as `expanded` gives them, form the tensor."""

    def rank_for(self, shape: Sequence[int], /, *, budget: float, **form: Any) -> Rank:
        """Largest rank whose factors have at most ``budget`` times the numbers of the tensor; ValueError if none."""

    def n_params(self, shape: Sequence[int], /, *, rank: Rank, **form: Any) -> int:
        """Count the numbers in the factors of a tensor of this shape; indices count as numbers."""


class KernelFactorization(Factorization, Protocol):
    """The names that the file of a method for kernels of convolutions defines."""

    def factor_kernel(self, kernel: Tensor, /, *, rank: Rank) -> tuple[Equation, Factors]:
        """Approximate a kernel, shape (n_out, n_in, height, width), by a chain of convolutions.

        The equation has the axes ``o``, ``i``, ``h`` and ``w``; ValueError if the rank does not fit.
        """

    def kernel_rank_for(self, shape: Sequence[int], /, *, budget: float) -> Rank:
        """Largest rank whose factors have at most ``budget`` times the numbers of the kernel; ValueError if none."""

    def kernel_n_params(self, shape: Sequence[int], /, *, rank: Rank) -> int:
        """Count the numbers in the factors of a kernel of this shape."""


def for_kernels(method: str) -> KernelFactorization:
    """Look up a method for convolutions; ValueError if it is only for matrices and tensors."""
    files = discover(sys.modules[__name__], Factorization)
    if not hasattr(files[method], "factor_kernel"):
        able = ", ".join(name for name, file in files.items() if hasattr(file, "factor_kernel"))
        raise ValueError(f"method: {method!r} is not for convolutions; choose from {able}")
    return cast(KernelFactorization, files[method])


def expanded(file: Factorization, factors: Factors) -> Factors:
    """Give factors in the form that the equation of their file reads: by its ``expand``, which not every file has."""
    return cast(Factors, getattr(file, "expand", tuple)(factors))


def default_form(file: Factorization, shape: Sequence[int]) -> dict[str, Any]:
    """Give the form for a matrix of this shape: by the ``form_for`` of its file, which not every file has."""
    return cast("dict[str, Any]", getattr(file, "form_for", lambda _: {})(shape))
