"""Drop-in layers for `torch.nn.Linear` whose products are learned from data, from a random or a projected start."""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
from torch import nn

from compressor import factorizations
from compressor.factorizations import Factorization, Metric
from compressor.nn.linear import FactorizedLinear
from compressor.nn.starts import sparse
from compressor.numerics import chains
from compressor.numerics.chains import Pattern
from compressor.numerics.divisors import deformable_pattern
from compressor.numerics.ranks import check_rank
from compressor.plugins import discover


class _Learned(FactorizedLinear):
    """What the layers have in common; a saved network loads them as `FactorizedLinear`, which computes the same."""

    METHOD: ClassVar[str]
    """File of the factorization that projects a dense layer."""

    def __init__(self, shapes: Sequence[Sequence[int]], bias: bool, device: Any, dtype: torch.dtype | None) -> None:
        file, factors = _file(self.METHOD), tuple(torch.empty(*shape, device="meta") for shape in shapes)
        equation, operands = file.equation(factors), factorizations.expanded(file, factors)
        super().__init__(self.METHOD, equation, equation.sizes(operands), bias)
        self.to(device=device, dtype=dtype)
        self.reset_parameters()

    def _projected(self, linear: nn.Linear, metric: Metric | None, **form: Any) -> Self:
        """Take the factors of a dense layer, and its bias."""
        file = _file(self.METHOD)
        factors = file.factor(linear.weight.detach(), metric=metric, **form)
        self.to(linear.weight)
        self.fill_(factorizations.expanded(file, factors), linear.bias)
        return self.train(linear.training)


def _file(method: str) -> Factorization:
    return discover(factorizations, Factorization)[method]


class Butterfly(_Learned):
    """A linear layer by a butterfly, or another chain of Kronecker-sparse factors, whose pattern is kept.

    Takes the place of ``torch.nn.Linear(in_features, out_features, bias)``.

    Parameters
    ----------
    in_features, out_features : int
        Numbers of inputs and of outputs.
    bias : bool
        Whether the layer adds a bias.
    rank : int, >= 1
        Factor of the inner ranks of the pattern.
    pattern : sequence of (a, b, c, d), optional
        As in `factorizations.kronecker_sparse`. By default one with as many factors as the shape allows: for a square
        power of two that of butterflies, log2(n) factors with two entries in each row and column.
    device, dtype
        Of the parameters.

    Raises
    ------
    ValueError
        If the pattern is not chainable or does not fit, or the rank is too large.

    References
    ----------
    .. [1] T. Dao, A. Gu, M. Eichhorn, A. Rudra, C. Re, "Learning fast algorithms for linear transforms using butterfly
       factorizations", 2019, arXiv:1903.05895.
    .. [2] Q.-T. Le, L. Zheng, E. Riccietti, R. Gribonval, "Butterfly factorization with error guarantees", 2024,
       arXiv:2411.04506.

    Examples
    --------
    >>> layer = Butterfly(64, 64)
    >>> layer(torch.zeros(2, 64)).shape, sum(factor.numel() for factor in layer.factors())
    (torch.Size([2, 64]), 768)
    """

    METHOD = "kronecker_sparse"

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        rank: int = 1,
        pattern: Pattern | None = None,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        shape = (out_features, in_features)
        pattern = deformable_pattern(shape) if pattern is None else pattern
        _file(self.METHOD).n_params(shape, rank=1, pattern=pattern)  # refuses a pattern that does not fit
        chain = chains.chain_of(pattern).times(1)
        check_rank(rank, chain.most(), shape)
        super().__init__(chain.times(rank).shapes(), bias, device, dtype)

    @classmethod
    def from_linear(
        cls, linear: nn.Linear, *, rank: int = 1, pattern: Pattern | None = None, metric: Metric | None = None
    ) -> Self:
        """Start from the product that is nearest to a dense layer, as `factorizations.kronecker_sparse` finds it."""
        n_out, n_in = linear.weight.shape
        layer = cls(n_in, n_out, linear.bias is not None, rank=rank, pattern=pattern)
        return layer._projected(linear, metric, rank=rank, pattern="butterfly" if pattern is None else pattern)


class Monarch(_Learned):
    """A linear layer by a Monarch matrix: two block diagonal factors with a fixed permutation between them.

    Takes the place of ``torch.nn.Linear(in_features, out_features, bias)``.

    Parameters
    ----------
    in_features, out_features : int
        Numbers of inputs and of outputs.
    bias : bool
        Whether the layer adds a bias.
    rank : int, >= 1
        Rank of each block of the product.
    blocks : two ints, optional
        Number of blocks of the outputs and of the inputs; by default four each, or fewer where four do not divide.
    device, dtype
        Of the parameters.

    Raises
    ------
    ValueError
        If the blocks or the rank do not fit.

    References
    ----------
    .. [1] T. Dao et al., "Monarch: expressive structured matrices for efficient and accurate training", 2022,
       arXiv:2204.00595.

    Examples
    --------
    >>> layer = Monarch(64, 32, rank=2)
    >>> layer(torch.zeros(2, 64)).shape, sum(factor.numel() for factor in layer.factors())
    (torch.Size([2, 32]), 768)
    """

    METHOD = "monarch"

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        rank: int = 1,
        blocks: tuple[int, int] | None = None,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        shape = (out_features, in_features)
        blocks = _blocks(shape) if blocks is None else blocks
        _file(self.METHOD).n_params(shape, rank=rank, blocks=blocks)  # refuses blocks that do not fit
        rows, columns = out_features // blocks[0], in_features // blocks[1]
        check_rank(rank, min(rows, columns), shape)
        super().__init__([(*blocks, rows, rank), (*reversed(blocks), rank, columns)], bias, device, dtype)

    @classmethod
    def from_linear(
        cls,
        linear: nn.Linear,
        *,
        rank: int = 1,
        blocks: tuple[int, int] | None = None,
        metric: Metric | None = None,
    ) -> Self:
        """Start from the product that is nearest to a dense layer, as `factorizations.monarch` finds it."""
        n_out, n_in = linear.weight.shape
        layer = cls(n_in, n_out, linear.bias is not None, rank=rank, blocks=blocks)
        blocks = _blocks((n_out, n_in)) if blocks is None else blocks
        return layer._projected(linear, metric, rank=rank, blocks=blocks)


class ProductOfSparse(_Learned):
    """A linear layer by a product of sparse matrices (PSM), whose zeros stay zero while it is trained.

    Takes the place of ``torch.nn.Linear(in_features, out_features, bias)``. It stores few numbers; the products are
    computed as dense ones.

    Parameters
    ----------
    in_features, out_features : int
        Numbers of inputs and of outputs.
    bias : bool
        Whether the layer adds a bias.
    n_nonzeros : int
        Largest number of entries of all factors that are not zero. A random start has the same number in each row, or
        in each column where there are more columns, of each factor: at least one.
    n_factors : int, >= 2
        Number of factors. One has the shape of the matrix, the first where it is tall or square, else the last; the
        others are square with its smaller side.
    device, dtype
        Of the parameters.

    Raises
    ------
    ValueError
        If the numbers do not fit the shape.

    References
    ----------
    .. [1] L. Giffon, S. Ayache, H. Kadri, T. Artieres, R. Sicre, "PSM-nets: compressing neural networks with product of
       sparse matrices", IJCNN 2021.

    Examples
    --------
    >>> layer = ProductOfSparse(64, 64, n_nonzeros=768)
    >>> layer(torch.zeros(2, 64)).shape, layer.n_nonzeros
    (torch.Size([2, 64]), 768)
    """

    METHOD = "product_of_sparse"

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        n_nonzeros: int,
        n_factors: int = 2,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self._sides = _sides(out_features, in_features, n_factors)
        self._n_per_line = min(n_nonzeros // sum(max(sides) for sides in self._sides), in_features, out_features)
        if self._n_per_line < 1:
            least = sum(max(sides) for sides in self._sides)
            raise ValueError(f"n_nonzeros: must be >= {least} for one entry in each line, got {n_nonzeros}")
        super().__init__(self._sides, bias, device, dtype)

    @classmethod
    def from_linear(
        cls, linear: nn.Linear, *, n_nonzeros: int, n_factors: int = 2, metric: Metric | None = None
    ) -> Self:
        """Start from a product near to a dense layer, found by `factorizations.product_of_sparse`."""
        n_out, n_in = linear.weight.shape
        layer = cls(n_in, n_out, linear.bias is not None, n_nonzeros=n_nonzeros, n_factors=n_factors)
        return layer._projected(linear, metric, rank=n_nonzeros, n_factors=n_factors)

    def reset_parameters(self) -> None:
        """Start at random, with a random pattern, so that outputs have the scale of independent inputs."""
        self.fill_(tuple(sparse(*sides, self._n_per_line) for sides in self._sides))
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    @property
    def n_nonzeros(self) -> int:
        """Number of entries of all factors that are not zero."""
        return sum(int(torch.count_nonzero(factor)) for factor in self.factors())


def _blocks(shape: tuple[int, int]) -> tuple[int, int]:
    """Blocks that a Monarch matrix of this shape has by default."""
    blocks: tuple[int, int] = factorizations.default_form(_file(Monarch.METHOD), shape)["blocks"]
    return blocks


def _sides(n_out: int, n_in: int, n_factors: int) -> list[tuple[int, int]]:
    """Shapes of the factors, from the left."""
    if n_factors < 2:
        raise ValueError(f"n_factors: must be >= 2, got {n_factors}")
    small = [(min(n_out, n_in),) * 2] * (n_factors - 1)
    return [*small, (n_out, n_in)] if n_out < n_in else [(n_out, n_in), *small]
