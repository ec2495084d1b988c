"""From a tensor train to CP: the cores are third-order CP tensors, each coupled to the next by a shared matrix."""

from collections.abc import Sequence

import torch
from torch import Tensor

from compressor.numerics import als, trains

N_PENCILS = 8  # random pairs of slices from which the shared matrix of a core is computed


def factors_of(tensor: Tensor, rank: int) -> list[Tensor]:
    """Compute CP factors of shape (size, rank) in closed form; exact for a generic tensor of this rank.

    The first core of a train of equal ranks is P1 / M1, core k has the CP factors M(k-1), Pk and the inverse of Mk
    transposed, the last is M(K-1) Pk^T: all in one order of terms once one M is known. A random pencil of slices of
    one core has an M as its eigenvectors; the rest follows core by core, each a set of rank-one approximations.

    Parameters
    ----------
    tensor : Tensor, shape sizes
        At least three modes, the first and the last of at least size rank.
    rank : int
        Number of terms.

    Notes
    -----
    Noise makes one pencil worse than another: of several, on every inner core, the one with the smallest error is
    taken. Complex pairs of eigenvectors, which only noise makes, are replaced by their real and imaginary parts.

    References
    ----------
    .. [1] Y. Zniyed, R. Boyer, A. L. F. de Almeida, G. Favier, "High-order tensor estimation via trains of coupled
       third-order CP and Tucker decompositions", Linear Algebra and its Applications 588, 2020.
    """
    cores = trains.split(tensor, (1, *[rank] * (tensor.ndim - 1), 1))
    generator = torch.Generator().manual_seed(0)
    tried = []
    for pivot in range(1, tensor.ndim - 1):
        for _ in range(N_PENCILS):
            weights = torch.randn(2, cores[pivot].shape[1], generator=generator, dtype=tensor.dtype)
            found = _propagated(cores, pivot, weights.to(tensor.device))
            tried.append((float((tensor - als.full(found)).norm()), found))
    return min(tried, key=lambda each: each[0])[1]


def _propagated(cores: Sequence[Tensor], pivot: int, weights: Tensor) -> list[Tensor]:
    """Factors from the eigenvectors of one core's pencil."""
    left = right = _eigenvectors(cores[pivot], weights)
    after = []
    for core in cores[pivot:-1]:  # the matrix before is known: its inverse times the core has rank-one slices
        factor, inverse = _rank_one(torch.einsum("ra,anb->rnb", torch.linalg.pinv(right), core))
        after.append(factor)
        right = torch.linalg.pinv(inverse)
    after.append((torch.linalg.pinv(right) @ cores[-1].squeeze(-1)).mT)
    before: list[Tensor] = []
    for core in reversed(cores[1:pivot]):  # the matrix after is known: the core times it has rank-one slices
        factor, rows = _rank_one(torch.einsum("anb,br->rna", core, left))
        before.insert(0, factor)
        left = rows.mT
    return [cores[0].squeeze(0) @ left, *before, *after]


def _eigenvectors(core: Tensor, weights: Tensor) -> Tensor:
    """Eigenvectors of one mixture of slices over another, which are the matrix before the core."""
    first, second = torch.einsum("anb,kn->kab", core, weights)
    values, vectors = torch.linalg.eig(first @ torch.linalg.pinv(second))
    return torch.where(values.imag < 0, vectors.imag, vectors.real)


def _rank_one(slices: Tensor) -> tuple[Tensor, Tensor]:
    """Best rank-one approximation of each slice, (rank, size, other): (size, rank) and (rank, other)."""
    left, values, right = torch.linalg.svd(slices, full_matrices=False)
    return (left[..., 0] * values[:, :1]).mT, right[:, 0]
