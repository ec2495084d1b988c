"""Butterflies and other products of a known pattern; a permutation of the columns is tried out if none is given."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from compressor.factorizations import kronecker_sparse
from compressor.factorizations.kronecker_sparse import Order, butterfly_pattern
from compressor.numerics import chains
from compressor.numerics.chains import Pattern
from compressor.numerics.ranks import check_finite
from compressor.transforms.product import SparseProduct

N_SAMPLES = 64  # blocks of each split that a permutation is judged by
TIE = 1e-5  # of the energy: of permutations as good as each other, the first is taken


def butterfly(
    matrix: Tensor,
    *,
    pattern: Pattern | None = None,
    permutation: Sequence[int] | Tensor | None = None,
    order: Order = "balanced",
) -> SparseProduct:
    """Approximate a matrix by a product of sparse factors of known pattern, times a permutation.

    Hadamard matrices are such products with two nonzeros in each row and column of log2(n) factors; Fourier matrices
    are if their columns are in bit-reversed order.

    Parameters
    ----------
    matrix : Tensor, shape (n_rows, n_columns)
        Real or complex; finite.
    pattern : sequence of (a, b, c, d), optional
        Chainable, as in `factorizations.kronecker_sparse`; by default the butterfly of a square power of two.
    permutation : n_columns numbers, optional
        Column ``permutation[j]`` of the matrix is column j of the product of the other factors. By default, if
        n_columns is a power of two, the one of the eight of [1]_ that fits best: the natural order first, the
        bit-reversal among them.
    order : "balanced" or "hierarchical"
        Where the product is split: in the middle, or after its first factor, again and again.

    Returns
    -------
    SparseProduct
        Factors of the dtype of the matrix; the last is the permutation matrix if it is not the natural order.

    Raises
    ------
    ValueError
        If the matrix is empty, not finite or not a matrix, the pattern does not fit it, or the permutation is none.

    Notes
    -----
    Time O(n_rows n_columns) for inner rank one, and as much memory for each factor. A permutation is judged by the
    energy outside rank one in up to 64 blocks of each split of the product.

    References
    ----------
    .. [1] T. Dao, A. Gu, M. Eichhorn, A. Rudra, C. Re, "Learning fast algorithms for linear transforms using butterfly
       factorizations", 2019, arXiv:1903.05895.
    .. [2] Q.-T. Le, L. Zheng, E. Riccietti, R. Gribonval, "Fast learning of fast transforms, with guarantees", 2022.

    Examples
    --------
    >>> i = torch.arange(8)
    >>> fourier = torch.polar(torch.ones(8, 8), -2 * torch.pi / 8 * torch.outer(i, i))
    >>> product = butterfly(fourier)
    >>> product.n_nonzeros, product.residual < 1e-6, product.factors[-1].real.argmax(dim=0).tolist()
    (56, True, [0, 4, 2, 6, 1, 5, 3, 7])
    """
    check_matrix(matrix)
    check_finite(matrix)
    pattern = square_pattern(matrix) if pattern is None else pattern
    kronecker_sparse.n_params(matrix.shape, pattern=pattern)  # refuses a pattern that does not fit
    columns = _fitting(matrix, pattern) if permutation is None else _checked(permutation, matrix.shape[1])
    product = fitted(matrix[:, columns], pattern, order)
    if torch.equal(columns, torch.arange(len(columns))):
        return product
    return SparseProduct((*product.factors, torch.eye(len(columns), dtype=matrix.dtype)[columns]), product.residual)


def fitted(matrix: Tensor, pattern: Pattern, order: Order = "balanced") -> SparseProduct:
    """Factorize a matrix by a pattern; the residual is that of the blocks, as dense factors multiply slowly."""
    blocks = kronecker_sparse.factor(matrix, pattern=pattern, order=order)
    residual = _relative_error(kronecker_sparse.rebuild(blocks).detach(), matrix.detach())
    return SparseProduct(tuple(dense(each) for each in blocks), residual, pattern)


def check_matrix(matrix: Tensor) -> None:
    """Refuse what is not a matrix of floating-point numbers with at least one entry."""
    if matrix.ndim != 2 or not matrix.numel():
        raise ValueError(f"matrix: must have two axes and at least one entry, got shape {tuple(matrix.shape)}")
    if not (matrix.is_floating_point() or matrix.is_complex()):
        raise ValueError(f"matrix: must be of floating-point or complex numbers, got {matrix.dtype}; convert it")


def dense(blocks: Tensor) -> Tensor:
    """Write a Kronecker-sparse factor, shape (a, d, b, c), as a matrix with its zeros: (a b d, a c d)."""
    a, d, b, c = blocks.shape
    matrix = blocks.new_zeros(a, b, d, a, c, d)
    matrix.diagonal(dim1=0, dim2=3).diagonal(dim1=1, dim2=3).copy_(blocks.permute(2, 3, 0, 1))
    return matrix.reshape(a * b * d, a * c * d)


def blocks_of(matrix: Tensor, sizes: Sequence[int]) -> Tensor:
    """Take the blocks of a Kronecker-sparse factor that is written with its zeros: the inverse of `dense`."""
    a, b, c, d = sizes
    return matrix.reshape(a, b, d, a, c, d).diagonal(dim1=0, dim2=3).diagonal(dim1=1, dim2=3).permute(2, 3, 0, 1)


def _relative_error(approximation: Tensor, matrix: Tensor) -> float:
    """Relative Frobenius norm of a difference, in double precision; 0 if both are zero."""
    wide = torch.complex128 if matrix.is_complex() else torch.float64
    scale = float(matrix.abs().amax()) or 1.0  # squares of very large or small entries would leave the range
    error = float(torch.linalg.vector_norm((approximation.to(wide) - matrix) / scale))
    return error / float(torch.linalg.vector_norm(matrix.to(wide) / scale)) if error else 0.0


def square_pattern(matrix: Tensor) -> Pattern:
    """Give the pattern of a square power of two; ValueError for other shapes."""
    n_rows, n_columns = matrix.shape
    if n_rows != n_columns or n_rows & (n_rows - 1):
        raise ValueError(f"matrix: must be square, its size a power of two, got shape {tuple(matrix.shape)}")
    return butterfly_pattern(n_rows) if n_rows > 1 else [(1, 1, 1, 1)]


def _checked(permutation: Sequence[int] | Tensor, n: int) -> Tensor:
    """Read a permutation of ``n`` columns."""
    columns = torch.as_tensor(permutation)
    if columns.shape != (n,) or not torch.equal(columns.sort().values, torch.arange(n)):
        raise ValueError(f"permutation: must hold each of 0 to {n - 1} once, got {columns.tolist()}")
    return columns


def _fitting(matrix: Tensor, pattern: Pattern) -> Tensor:
    """Choose the first of the standard permutations whose blocks are nearest to their rank."""
    n = matrix.shape[1]
    natural = torch.arange(n)
    if n & (n - 1) or len(pattern) == 1:
        return natural
    chain, scaled = chains.chain_of(pattern), matrix.detach() / (matrix.detach().abs().amax() or 1.0)
    tried = list(_standard(n))
    outside = [_outside(scaled[:, columns], chain) for columns in tried]
    return next(columns for columns, own in zip(tried, outside, strict=True) if own <= min(outside) + TIE)


def _standard(n: int) -> Iterator[Tensor]:
    """List eight permutations: even before odd, first half reversed, second half reversed, or not, at each level."""
    for choice in range(8):
        order = torch.arange(n).reshape(1, n)
        while order.shape[1] > 1:
            if choice & 1:
                order = order.unflatten(1, (-1, 2)).mT.flatten(1)
            first, second = order.chunk(2, dim=1)
            halves = [first.flip(1) if choice & 2 else first, second.flip(1) if choice & 4 else second]
            order = torch.cat(halves, dim=1).reshape(-1, first.shape[1])
        yield order.flatten()


def _outside(matrix: Tensor, chain: chains.Chain) -> float:
    """Sum, over the splits of a product, the share of the energy of some of its blocks outside their rank."""
    entries, total = chain.blocks(matrix), 0.0
    for at in range(1, chain.n_factors):
        blocks = chains.divided(entries, chain, at).flatten(0, -3)
        some = blocks[:: -(-len(blocks) // N_SAMPLES)]
        some = some if some.shape[-2] <= some.shape[-1] else some.mT
        energies = torch.linalg.eigvalsh(some @ some.mH).clamp(min=0)
        rest = float(energies[..., : -chain.inner[at - 1]].sum())
        total += rest / float(energies.sum()) if rest else 0.0
    return total
