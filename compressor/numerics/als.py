"""Alternating least squares for the canonical polyadic (CP) decomposition."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from compressor.numerics import modes

CANCELLING = 1e3  # iterations stop once the terms' norms sum to this many times the norm of the tensor
STILL = 1e-14  # iterations stop when no entry of a factor moves by more than this share of the largest


def improve(tensor: Tensor, factors: Sequence[Tensor], n_iterations: int) -> list[Tensor]:
    """Solve for one factor after the other, of shape (size, rank), the others held; the error never rises.

    A step that solves for a factor leaves alone the directions in which the others are dependent. A sweep after which
    the terms cancel each other beyond `CANCELLING` is undone and ends the iterations: the tensor then has no best
    approximation of this rank, and terms would grow without bound.
    """
    factors, norm = balanced(factors), tensor.norm()
    for _ in range(n_iterations):
        before = factors
        factors = balanced(_sweep(tensor, before))
        if bool(term_norms(factors).sum() > CANCELLING * norm):
            return before
        if all(_still(old, new) for old, new in zip(before, factors, strict=True)):
            break
    return factors


def _sweep(tensor: Tensor, factors: Sequence[Tensor]) -> list[Tensor]:
    current = list(factors)
    grams = [factor.mT @ factor for factor in current]
    for mode, factor in enumerate(current):
        gram = _product([each for other, each in enumerate(grams) if other != mode])
        gap = _times_others(tensor, current, mode) - factor @ gram
        current[mode] = factor + gap @ torch.linalg.pinv(gram, hermitian=True)
        grams[mode] = current[mode].mT @ current[mode]
    return current


def _still(old: Tensor, new: Tensor) -> bool:
    return bool((new - old).abs().max() <= STILL * old.abs().max())


def start(tensor: Tensor, rank: int) -> list[Tensor]:
    """Leading singular vectors of each unfolding; where a rank is above a size, random columns from a fixed seed."""
    generator = torch.Generator().manual_seed(0)
    factors = []
    for size, base in zip(tensor.shape, modes.bases(tensor, [rank] * tensor.ndim), strict=True):
        more = torch.rand(size, rank - base.shape[1], generator=generator, dtype=torch.float64)
        factors.append(torch.cat([base, more.to(base.device)], dim=1))
    return factors


def balanced(factors: Sequence[Tensor]) -> list[Tensor]:
    """Give the columns of a term the same norm in all factors."""
    norms = torch.stack([factor.norm(dim=0) for factor in factors])
    each = norms.prod(dim=0) ** (1 / len(factors))
    return [factor * torch.where(norm > 0, each / norm, 0.0) for factor, norm in zip(factors, norms, strict=True)]


def term_norms(factors: Sequence[Tensor]) -> Tensor:
    """Norm of each term."""
    return _product([factor.norm(dim=0) for factor in factors])


def full(factors: Sequence[Tensor]) -> Tensor:
    """Sum the outer products."""
    return (factors[0] @ khatri_rao(factors[1:]).mT).reshape([len(factor) for factor in factors])


def _times_others(tensor: Tensor, factors: Sequence[Tensor], mode: int) -> Tensor:
    """Multiply the unfolding by the Khatri-Rao product of the other factors, (size, rank)."""
    before, after = factors[:mode], factors[mode + 1 :]
    n_before = math.prod(len(factor) for factor in before)
    if not after:
        return tensor.reshape(n_before, -1).mT @ khatri_rao(before)
    products = tensor.reshape(n_before * len(factors[mode]), -1) @ khatri_rao(after)
    blocks = products.reshape(n_before, len(factors[mode]), -1)
    return (blocks * khatri_rao(before).unsqueeze(1)).sum(dim=0) if before else blocks.squeeze(0)


def khatri_rao(factors: Sequence[Tensor]) -> Tensor:
    """Multiply factors column by column, all pairs of rows, the last factor's fastest."""
    product = factors[0]
    for factor in factors[1:]:
        product = (product.unsqueeze(1) * factor).flatten(0, 1)
    return product


def _product(parts: Sequence[Tensor]) -> Tensor:
    product = parts[0]
    for part in parts[1:]:
        product = product * part
    return product
