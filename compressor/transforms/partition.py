"""Pair the rows and halve the columns of a permuted butterfly, level by level, by its blocks of rank one."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

N_STARTS = 24  # row pairs from which a level is tried
N_ROUNDS = 6  # at most, of pairs from halves and halves from pairs
EXACT = 1e-15  # of the energy: what rounding leaves, so that no other start is better
NO_NORM = 1e-50  # of the largest entry; its square is still far from the smallest number


@dataclass(frozen=True, eq=False)
class Level:
    """How the rows and columns of the blocks of one level are divided."""

    pairs: Tensor
    """Shape (m / 2, 2): rows that belong together, in all blocks."""
    halves: Tensor
    """Shape (n_blocks, m): whether a column is in the second half."""
    outside: float
    """Energy outside rank one, over all pairs and halves."""


def orders(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Find orders of rows and columns in which a matrix is nearly a butterfly.

    Parameters
    ----------
    matrix : Tensor, shape (n, n)
        In double precision, its largest entry about 1; n a power of two.

    Returns
    -------
    rows, columns : Tensor, shape (n,)
        ``matrix[rows][:, columns]`` is nearly a butterfly, if the matrix is a permuted one.
    """
    blocks, columns, levels = matrix[None], torch.arange(len(matrix))[None], list[Tensor]()
    while blocks.shape[1] > 1:
        level = _best(blocks)
        chosen = level.halves.long().argsort(dim=1, stable=True)  # first half, second half
        columns = columns.gather(1, chosen).reshape(2 * len(chosen), -1)
        halved = blocks.gather(2, chosen[:, None, :].expand_as(blocks))
        blocks = _peeled(halved, level.pairs)
        levels.append(level.pairs)
    rows = torch.zeros(1, dtype=torch.long)
    for pairs in reversed(levels):
        rows = pairs[rows].T.flatten()
    return rows, columns.flatten()


def _best(blocks: Tensor) -> Level:
    """Try the row pairs that are best in line on two halves of the columns; keep what leaves the least energy."""
    n_rows = blocks.shape[1]
    upper = torch.triu_indices(n_rows, n_rows, 1)
    ratios = torch.cat([_ratios(blocks, first) for first in range(n_rows - 1)])
    best, energy = None, float(blocks.abs().square().sum())
    for start in ratios.argsort(stable=True)[:N_STARTS]:
        pair = blocks[:, upper[:, start]]
        level = _settled(blocks, _two_lines(pair)[0])
        if best is None or level.outside < best.outside:
            best = level
        if best.outside <= EXACT * energy:
            break
    assert best is not None
    return best


def _ratios(blocks: Tensor, first: int) -> Tensor:
    """Energy outside two lines over energy outside one, of the row pairs (first, later): shape (n_later,)."""
    later = blocks[:, first + 1 :]
    pairs = torch.stack([blocks[:, first : first + 1].expand_as(later), later], dim=2)
    _, outside = _two_lines(pairs)
    one = _outside_line(pairs).sum(0)
    return outside.sum(0) / one.clamp_min(torch.finfo(one.dtype).tiny)


def _two_lines(pairs: Tensor) -> tuple[Tensor, Tensor]:
    """Halve the columns of row pairs, (*batch, 2, m), by two lines through 0; the energy outside the lines.

    The product of the two linear forms that vanish on the lines is a quadratic form: the one that is least on all
    columns is the start, and assignments and lines are then improved in turn.
    """
    x, y = pairs.unbind(-2)
    monomials = torch.stack([x * x, x * y, y * y], dim=-1)
    norms = torch.linalg.vector_norm(monomials, dim=-2, keepdim=True)
    scales = norms.clamp_min(NO_NORM)
    scaled = monomials / scales
    form = torch.linalg.eigh(scaled.mT @ scaled.conj())[1][..., 0].conj() / scales[..., 0, :]
    halves = _halved(_distances(pairs, _roots(form)))
    for _ in range(2):
        halves = _halved(_distances(pairs, _lines(pairs, halves)))
    own = torch.stack([~halves, halves], dim=-2)[..., None, :] * pairs[..., None, :, :]
    return halves, _outside_line(own).sum(-1)


def _roots(form: Tensor) -> Tensor:
    """Directions (2 lines, 2), of norm one, on which a form a x^2 + b x y + c y^2 is 0: shape (*batch, 2, 2)."""
    a, b, c = form.to(torch.complex128).unbind(-1)
    root = (b * b - 4 * a * c).sqrt()
    larger = torch.where((b.conj() * root).real >= 0, -b - root, -b + root)  # without cancellation
    lines = torch.stack([torch.stack([larger, 2 * a], -1), torch.stack([2 * c, larger], -1)], -2)
    norms: Tensor = torch.linalg.vector_norm(lines, dim=-1, keepdim=True)
    return lines / norms.clamp_min(NO_NORM)


def _lines(pairs: Tensor, halves: Tensor) -> Tensor:
    """Direction of each half of the columns of row pairs: shape (*batch, 2 halves, 2)."""
    own = torch.stack([~halves, halves], dim=-2)[..., None, :] * pairs[..., None, :, :]
    return _direction(own)


def _distances(pairs: Tensor, lines: Tensor) -> Tensor:
    """Energy of each column of row pairs outside each line: shape (*batch, 2 lines, m)."""
    normals = torch.stack([-lines[..., 1], lines[..., 0]], dim=-1)
    return (normals @ pairs.to(normals.dtype)).abs().square()


def _halved(distances: Tensor) -> Tensor:
    """Put each column into the nearer half, so that both are of the same size; True for the second."""
    difference = distances[..., 0, :] - distances[..., 1, :]
    ranks = difference.argsort(dim=-1, stable=True).argsort(dim=-1)
    return ranks >= difference.shape[-1] // 2


def _settled(blocks: Tensor, halves: Tensor) -> Level:
    """Pair the rows by the halves of the columns and halve the columns by the row pairs, until nothing improves."""
    level = _paired(blocks, halves)
    for _ in range(N_ROUNDS):
        pairs = blocks[:, level.pairs]
        distances = _distances(pairs, _lines(pairs, level.halves[:, None].expand(-1, pairs.shape[1], -1)))
        following = _paired(blocks, _halved(distances.sum(1)))
        if not following.outside < level.outside:
            break
        level = following
    return level


def _paired(blocks: Tensor, halves: Tensor) -> Level:
    """Match rows so that little energy is outside one line in each half of the columns of all blocks."""
    own = torch.stack([~halves, halves], dim=1)[:, :, None, :] * blocks[:, None]
    gram = own @ own.mH
    energies = gram.diagonal(dim1=-2, dim2=-1).real
    mean, difference = ((energies[..., :, None] + sign * energies[..., None, :]) / 2 for sign in (1, -1))
    costs = (mean - torch.sqrt(difference.square() + gram.abs().square())).clamp_min(0).sum((0, 1))
    pairs = torch.from_numpy(_matching(costs.numpy()))
    return Level(pairs, halves, float(costs[pairs[:, 0], pairs[:, 1]].sum()))


def _matching(costs: np.ndarray) -> np.ndarray:
    """Pair rows at a low sum of costs: as in the best assignment where it is mutual, else by the cheapest pairs."""
    closed = costs + np.diag(np.full(len(costs), costs.sum() + 1.0))
    _, partner = linear_sum_assignment(closed)
    index = np.arange(len(costs))
    mutual = partner[partner] == index
    pairs = [(i, int(partner[i])) for i in index[mutual] if i < partner[i]]
    left = index[~mutual]
    first, second = np.triu_indices(len(left), 1)
    order = np.argsort(costs[left[first], left[second]], kind="stable")
    free = dict.fromkeys(left.tolist(), True)
    for i, j in zip(left[first][order].tolist(), left[second][order].tolist(), strict=True):
        if free[i] and free[j]:
            free[i] = free[j] = False
            pairs.append((i, j))
    return np.array(pairs)


def _peeled(halved: Tensor, pairs: Tensor) -> Tensor:
    """Replace each row pair in each half of the columns by one row: shape (2 n_blocks, m / 2, m / 2)."""
    n_blocks, size, _ = halved.shape
    parts = halved[:, pairs].unflatten(-1, (2, size // 2)).movedim(-2, 1)  # (blocks, halves, pairs, 2, m / 2)
    rows: Tensor = _direction(parts).conj().unsqueeze(-2) @ parts
    return rows.reshape(2 * n_blocks, size // 2, size // 2)


def _direction(pairs: Tensor) -> Tensor:
    """Direction of the line through 0 that is nearest to the columns of row pairs: shape (*batch, 2)."""
    vectors: Tensor = torch.linalg.eigh(pairs @ pairs.mH)[1]
    return vectors[..., -1]


def _outside_line(pairs: Tensor) -> Tensor:
    """Energy of the columns of row pairs outside that line: shape batch."""
    smaller: Tensor = torch.linalg.eigvalsh(pairs @ pairs.mH)[..., 0]
    return smaller.clamp_min(0)
