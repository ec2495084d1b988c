"""Chains of Kronecker-sparse factors: the divisors of their axes, and how their entries are arranged."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil, prod

from torch import Tensor

Pattern = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Chain:
    """A chainable pattern by the divisors of its axes.

    Rows of the product are (a, rows, d), columns (a, columns, d); it is zero where the two a or the two d differ.
    Factor i has the axes (a, columns before i), (rows after i, d), (inner i - 1, row i) and (column i, inner i).
    """

    a: int
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    inner: tuple[int, ...]
    d: int

    @property
    def n_factors(self) -> int:
        """Number of factors."""
        return len(self.rows)

    def letters(self) -> list[list[tuple[str, int]]]:
        """List name and size of the divisors of the axes of each factor, in the order of its entries."""
        named = {
            side: [(f"{side} {i}", size) for i, size in enumerate(sizes)]
            for side, sizes in (("row", self.rows), ("column", self.columns), ("inner", self.inner))
        }
        row, column, inner = named["row"], named["column"], named["inner"]
        first = [[("a", self.a), *column[:i], *row[i + 1 :], ("d", self.d)] for i in range(self.n_factors)]
        second = [[*inner[max(i - 1, 0) : i], row[i], column[i], *inner[i : i + 1]] for i in range(self.n_factors)]
        return [[*before, *after] for before, after in zip(first, second, strict=True)]

    def shapes(self) -> list[tuple[int, int, int, int]]:
        """Give the shape of the blocks of each factor, (a, d, b, c)."""
        inner, found = (1, *self.inner, 1), []
        for i, (row, column) in enumerate(zip(self.rows, self.columns, strict=True)):
            outer = (self.a * prod(self.columns[:i]), prod(self.rows[i + 1 :]) * self.d)
            found.append((*outer, inner[i] * row, column * inner[i + 1]))
        return found

    def times(self, rank: int) -> "Chain":
        """Multiply the inner ranks, each up to what the axes beside it allow."""
        inner = [size * rank for size in self.inner]
        for i in range(len(inner)):
            inner[i] = min(inner[i], (inner[i - 1] if i else 1) * self.rows[i])
        for i in reversed(range(len(inner))):
            inner[i] = min(inner[i], (inner[i + 1] if i + 1 < len(inner) else 1) * self.columns[i + 1])
        return replace(self, inner=tuple(inner))

    def most(self) -> int:
        """Find the smallest rank from which the factors grow no more."""
        full = self.times(prod(self.rows) * prod(self.columns)).inner
        return max([1, *(ceil(most / own) for most, own in zip(full, self.inner, strict=True))])

    def split(self, at: int) -> tuple["Chain", "Chain"]:
        """Divide into the patterns of the product of the first factors and of the product of the others."""
        rank = self.inner[at - 1]
        last, first = self.columns[at - 1] * rank, rank * self.rows[at]
        d, a = prod(self.rows[at:]) * self.d, self.a * prod(self.columns[:at])
        left = Chain(self.a, self.rows[:at], (*self.columns[: at - 1], last), self.inner[: at - 1], d)
        right = Chain(a, (first, *self.rows[at + 1 :]), self.columns[at:], self.inner[at:], self.d)
        return left, right

    def blocks(self, matrix: Tensor) -> Tensor:
        """Take the entries of a matrix in the support of the product: shape (*batch, a, d, rows, columns)."""
        n_rows, n_columns = prod(self.rows), prod(self.columns)
        divided = matrix.reshape(*matrix.shape[:-2], self.a, n_rows, self.d, self.a, n_columns, self.d)
        return divided.diagonal(dim1=-6, dim2=-3).diagonal(dim1=-4, dim2=-2).movedim((-2, -1), (-4, -3))

    def matrix(self, blocks: Tensor) -> Tensor:
        """Put entries back into a matrix of zeros: the inverse of `blocks`."""
        spread = blocks.movedim((-4, -3), (-2, -1)).diag_embed(dim1=-4, dim2=-2).diag_embed(dim1=-6, dim2=-3)
        size = self.a * self.d
        return spread.reshape(*blocks.shape[:-4], size * prod(self.rows), size * prod(self.columns))


def chain_of(pattern: Pattern) -> Chain:
    """Read a pattern; ValueError if it is not chainable."""
    found = [tuple(each) for each in pattern]
    if not found or any(len(each) != 4 or min(each) < 1 for each in found):
        raise ValueError(f"pattern: must be four whole numbers >= 1 for each factor, got {found}")
    rows, columns, inner = [found[0][1]], list[int](), list[int]()
    for (a, b, c, d), (next_a, next_b, next_c, next_d) in pairwise(found):
        column, row = next_a // a, d // next_d
        if (a * column, next_d * row) != (next_a, d) or c % column or (c // column) * row != next_b:
            following = (next_a, next_b, next_c, next_d)
            raise ValueError(f"pattern: {following} cannot follow {(a, b, c, d)}; neighbours must be chainable")
        columns, inner, rows = [*columns, column], [*inner, c // column], [*rows, row]
    return Chain(found[0][0], tuple(rows), (*columns, found[-1][2]), tuple(inner), found[-1][3])


def of_factors(factors: Sequence[Tensor]) -> Chain:
    """Read the pattern of factors of shapes (*batch, a, d, b, c)."""
    sizes = (factor.shape[-4:] for factor in factors)
    return chain_of([(a, b, c, d) for a, d, b, c in sizes])


def product(factors: Sequence[Tensor], chain: Chain) -> Tensor:
    """Multiply factors; the blocks of the product."""
    if chain.n_factors == 1:
        return factors[0]
    at = chain.n_factors // 2
    left, right = chain.split(at)
    blocks = from_left(product(factors[:at], left), chain, at) @ from_right(product(factors[at:], right), chain, at)
    rows, columns = prod(chain.rows), prod(chain.columns)
    return _ordered(blocks, "adjkpq->adpjkq").reshape(*blocks.shape[:-6], chain.a, chain.d, rows, columns)


def divided(target: Tensor, chain: Chain, at: int) -> Tensor:
    """See a product as the blocks of low rank at a split: shape (*batch, a, d, right rows, left columns, m, n)."""
    rows, columns = ((prod(side[:at]), prod(side[at:])) for side in (chain.rows, chain.columns))
    return _ordered(target.reshape(*target.shape[:-2], *rows, *columns), "adpjkq->adjkpq")


def as_left(blocks: Tensor) -> Tensor:
    """Arrange left vectors as the blocks of the left part; `from_left` is the inverse."""
    return _ordered(blocks, "adjkpq->ajdpkq").flatten(-2, -1).flatten(-4, -3)


def from_left(part: Tensor, chain: Chain, at: int) -> Tensor:
    """See the blocks of the left part as those of `divided`: (..., m, rank)."""
    columns = prod(chain.columns[:at])
    grid = part.unflatten(-3, (-1, chain.d)).unflatten(-1, (columns, -1))
    return _ordered(grid, "ajdpkq->adjkpq")


def as_right(blocks: Tensor) -> Tensor:
    """Arrange right vectors as the blocks of the right part; `from_right` is the inverse."""
    return _ordered(blocks, "adjkpq->akdpjq").flatten(-3, -2).flatten(-5, -4)


def from_right(part: Tensor, chain: Chain, at: int) -> Tensor:
    """See the blocks of the right part as those of `divided`: (..., rank, n)."""
    rows = prod(chain.rows[at:])
    grid = part.unflatten(-4, (chain.a, -1)).unflatten(-2, (-1, rows))
    return _ordered(grid, "akdpjq->adjkpq")


def _ordered(tensor: Tensor, axes: str) -> Tensor:
    """Permute the last axes, as named on both sides of an arrow."""
    before, after = axes.split("->")
    batch = tensor.ndim - len(before)
    return tensor.permute(*range(batch), *(batch + before.index(name) for name in after))
