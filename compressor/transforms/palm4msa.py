"""PALM4MSA: factors in given constraint sets whose product approximates a matrix."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from compressor.constraints import Constraint
from compressor.transforms.product import SparseProduct, measured

MARGIN = 1.02  # of the estimated spectral norms, which power iteration approaches from below
N_POWERS = 5  # iterations of the estimate, three times as many in the first sweep
LEAST_WEIGHT = 1e-3  # of a row or column of a factor, in that of the largest
FLOOR = 1e-15  # relative error that is rounding
N_IDLE = 3  # sweeps without progress before the end, as the first may only have shortened the steps


def palm4msa(
    matrix: Tensor,
    constraints: Sequence[Constraint],
    *,
    start: Sequence[Tensor] | None = None,
    n_sweeps: int = 100,
    tolerance: float = 1e-6,
    right_to_left: bool = False,
) -> SparseProduct:
    """Approximate a matrix by a product of factors, each in a constraint set.

    The factors take turns. Each makes a gradient step on half the squared Frobenius error, of the length that the
    spectral norms of its neighbours' products allow, and is projected onto its set; then the product is scaled to the
    matrix. Steps start ahead of the factor, in the direction of its last move [2]_; one that would raise the error is
    made again from the factor itself. If that raises it too, as a set may whose map is not exact, it is not taken, and
    the next one is half as long; so the error never rises. Where the set allows it, rows and columns of the factor are
    weighted by the norms of what they are multiplied by, so that badly scaled neighbours do not shorten the steps.

    Parameters
    ----------
    matrix : Tensor, shape (*batch, n_rows, n_columns)
        The matrices; real or complex, finite.
    constraints : sequence of Constraint
        Set of each factor, from left to right; the shapes must chain. At least one must be a cone: the first of them
        carries the scale, and the others have Frobenius norm 1 or that of their set.
    start : sequence of Tensor, optional
        Factors to start from, shapes (*batch, rows, columns). By default each becomes the projected gradient at zero,
        in the order of the turns, while those to come are identities.
    n_sweeps : int, >= 1
        Largest number of turns of every factor.
    tolerance : float, >= 0
        Stop when three sweeps in a row lower the error of no matrix by more than this part of it.
    right_to_left : bool
        Whether the last factor moves first.

    Returns
    -------
    SparseProduct
        Factors in the dtype and on the device of ``matrix``; computed in float64 or complex128. A local optimum, which
        depends on the start.

    Raises
    ------
    ValueError
        If the matrix is not finite, the shapes do not chain, no set is a cone, or a number is out of range.

    Notes
    -----
    A step takes a few products of matrices as large as ``matrix``, and the projection.

    References
    ----------
    .. [1] L. Le Magoarou, R. Gribonval, "Flexible multilayer sparse approximations of matrices and applications", IEEE
       JSTSP 10(4), 2016, arXiv:1506.07300.
    .. [2] T. Pock, S. Sabach, "Inertial proximal alternating linearized minimization (iPALM) for nonconvex and
       nonsmooth problems", SIAM J. Imaging Sciences 9(4), 2016, arXiv:1702.02505.

    Examples
    --------
    >>> matrix = torch.tensor([[2.0, 4.0], [1.0, 2.0]])
    >>> product = palm4msa(matrix, [Constraint("sp", (2, 1), 2), Constraint("sp", (1, 2), 2)])
    >>> product.n_nonzeros, round(product.residual, 6)
    (4, 0.0)
    """
    _check(matrix, constraints, n_sweeps, tolerance)
    matrix = matrix.detach()
    exact = matrix.to(torch.complex128 if matrix.is_complex() else torch.float64)
    factors = [factor.to(exact) for factor in start] if start else _start(exact, constraints, right_to_left)
    if [tuple(factor.shape[-2:]) for factor in factors] != [tuple(one.shape) for one in constraints]:
        raise ValueError(f"start: must have the shapes of the constraints, got {[tuple(f.shape) for f in factors]}")
    run = _Run(exact, list(constraints), factors)
    n_idle = 0
    for _ in range(n_sweeps):
        before = run.error
        run.sweep(right_to_left)
        n_idle = n_idle + 1 if bool((before - run.error <= tolerance * before).all()) else 0
        if n_idle == N_IDLE or bool((run.error <= FLOOR * run.norm).all()):
            break
    return measured(tuple(factor.to(matrix.dtype) for factor in run.scaled()), matrix)


@dataclass(frozen=True, eq=False)
class _Point:
    """A factor after a step, with the product, the scale that fits it and its error."""

    factor: Tensor
    product: Tensor
    scale: Tensor
    error: Tensor


class _Run:
    """Factors and the scale of their product, in the middle of the algorithm; those that are cones have norm 1."""

    def __init__(self, matrix: Tensor, constraints: list[Constraint], factors: list[Tensor]) -> None:
        self.matrix, self.constraints, self.norm = matrix, constraints, _norm(matrix)
        spread = [factor.expand(*matrix.shape[:-2], *factor.shape[-2:]) for factor in factors]
        self.factors = [self._feasible(index, factor) for index, factor in enumerate(spread)]
        self.product = reduce(torch.matmul, self.factors)
        self.scale = _fit(matrix, self.product)
        self.error = _norm(matrix - self.scale * self.product)
        self.shortened = [torch.ones_like(self.norm) for _ in factors]
        self.before, self.n_inert = list(self.factors), torch.zeros_like(self.norm)
        self.vectors: dict[tuple[int, str], Tensor] = {}

    def _feasible(self, index: int, factor: Tensor, weights: Tensor | float = 1.0) -> Tensor:
        """Project a weighted factor onto its set, and scale it to norm 1 if that is a cone."""
        projected = self.constraints[index].project(factor) / weights
        if not self.constraints[index].is_cone:
            return projected
        norm = _norm(projected)
        return projected / norm.where(norm > 0, 1.0)

    def sweep(self, right_to_left: bool) -> None:
        """Move every factor once."""
        self._sweep_right_to_left() if right_to_left else self._sweep_left_to_right()
        self.n_inert += 1

    def _sweep_left_to_right(self) -> None:
        rights: list[Tensor | None] = [None]
        for factor in reversed(self.factors[1:]):
            rights.append(factor if rights[-1] is None else factor @ rights[-1])
        left: Tensor | None = None
        for index, right in enumerate(reversed(rights)):
            self._move(index, left, right)
            left = self.factors[index] if left is None else left @ self.factors[index]

    def _sweep_right_to_left(self) -> None:
        lefts: list[Tensor | None] = [None]
        for factor in self.factors[:-1]:
            lefts.append(factor if lefts[-1] is None else lefts[-1] @ factor)
        right: Tensor | None = None
        for index in reversed(range(len(self.factors))):
            self._move(index, lefts[index], right)
            right = self.factors[index] if right is None else self.factors[index] @ right

    def _move(self, index: int, left: Tensor | None, right: Tensor | None) -> None:
        """Step and project one factor; keep the old one in the matrices of the batch whose error would rise."""
        factor = self.factors[index]
        ahead = factor + self.n_inert / (self.n_inert + 3) * (factor - self.before[index])
        tried = self._tried(index, left, right, ahead)
        is_worse = tried.error > self.error
        if bool((is_worse & (self.n_inert > 0)).any()):
            self.n_inert = self.n_inert.where(~is_worse, 0.0)
            tried = self._tried(index, left, right, torch.where(is_worse, factor, ahead))
            is_worse = tried.error > self.error
        self.before[index], self.factors[index] = factor, torch.where(is_worse, factor, tried.factor)
        self.product = torch.where(is_worse, self.product, tried.product)
        self.scale = torch.where(is_worse, self.scale, tried.scale)
        self.error = torch.where(is_worse, self.error, tried.error)
        self.shortened[index] = torch.where(is_worse, 2 * self.shortened[index], 1.0)

    def _tried(self, index: int, left: Tensor | None, right: Tensor | None, factor: Tensor) -> "_Point":
        """Step from a factor along the gradient, and project."""
        scale = self.scale.where(self.scale.abs() > 0, 1.0)  # a product of zero has none
        product = _between(left, factor, right) if bool(self.n_inert.any()) else self.product
        gradient = _between(_adjoint(left), self.scale * product - self.matrix, _adjoint(right))
        weights, bound = self._curvature(index, left, right)
        length = torch.where(bound > 0, 1 / bound, 0.0) / (scale.abs().square() * self.shortened[index])
        stepped = weights * factor - length * scale.conj() * gradient / weights
        new = self._feasible(index, stepped, weights)
        product = _between(left, new, right)
        fitted = _fit(self.matrix, product)
        return _Point(new, product, fitted, _norm(self.matrix - fitted * product))

    def _curvature(self, index: int, left: Tensor | None, right: Tensor | None) -> tuple[Tensor, Tensor]:
        """Weights that even out the rows and columns of a factor, and the largest curvature along the weighted ones."""
        weights, bound = torch.ones_like(self.norm), torch.ones_like(self.norm)
        for side, neighbour in (("left", left), ("right", None if right is None else right.mT)):
            if neighbour is None or not neighbour.numel():
                continue
            lengths = torch.linalg.vector_norm(neighbour, dim=-2, keepdim=True)
            lengths = lengths.clamp_min(LEAST_WEIGHT * lengths.amax(-1, keepdim=True))
            if not self.constraints[index].is_scalable or not bool((lengths > 0).all()):
                lengths = torch.ones_like(lengths)
            weights = weights * (lengths.mT if side == "left" else lengths)
            bound = bound * self._squared_norm((index, side), neighbour / lengths)
        return weights, bound

    def _squared_norm(self, key: tuple[int, str], matrix: Tensor) -> Tensor:
        """Estimate the squared spectral norm by power iteration from the last singular vector, with a margin."""
        generator = torch.Generator().manual_seed(0)  # a constant vector may be orthogonal to the one that is sought
        start = torch.randn(matrix.shape[-1], 1, generator=generator, dtype=torch.float64).to(matrix)
        vector, norm = self.vectors.get(key, start), self.norm
        for _ in range(N_POWERS if key in self.vectors else 3 * N_POWERS):
            vector = matrix.mH @ (matrix @ vector)
            norm = _norm(vector)
            vector = vector / norm.where(norm > 0, 1.0)
        self.vectors[key] = vector + 0.1 * start / _norm(start)
        return MARGIN**2 * norm

    def scaled(self) -> list[Tensor]:
        """Return the factors, the scale in the first that is a cone."""
        carrier = next(index for index, constraint in enumerate(self.constraints) if constraint.is_cone)
        factors = list(self.factors)
        factors[carrier] = self.scale * factors[carrier]
        return factors


def _check(matrix: Tensor, constraints: Sequence[Constraint], n_sweeps: int, tolerance: float) -> None:
    sides = [tuple(constraint.shape) for constraint in constraints]
    chain = [matrix.shape[-2], *(columns for _, columns in sides)] if matrix.ndim > 1 else []
    if not sides or chain[:-1] != [rows for rows, _ in sides] or chain[-1] != matrix.shape[-1]:
        raise ValueError(f"constraints: their shapes must chain to the matrix's {tuple(matrix.shape)}, got {sides}")
    if not any(constraint.is_cone for constraint in constraints):
        raise ValueError("constraints: one must be a cone, to carry the scale; none is")
    if not bool(matrix.isfinite().all()):
        raise ValueError("matrix: entries must be finite, found nan or inf")
    if n_sweeps < 1 or not tolerance >= 0:
        raise ValueError(f"n_sweeps, tolerance: must be >= 1 and >= 0, got {n_sweeps}, {tolerance}")


def _start(matrix: Tensor, constraints: Sequence[Constraint], right_to_left: bool) -> list[Tensor]:
    """Project, for one factor after another, the gradient at zero; identities stand for those to come."""
    factors = [torch.eye(*constraint.shape, dtype=matrix.dtype, device=matrix.device) for constraint in constraints]
    order = range(len(factors))
    for index in reversed(order) if right_to_left else order:
        lefts, rights = factors[:index], factors[index + 1 :]
        left = reduce(torch.matmul, lefts).mH if lefts else None
        right = reduce(torch.matmul, rights).mH if rights else None
        factors[index] = constraints[index].project(_between(left, matrix, right))
    return factors


def _between(left: Tensor | None, factor: Tensor, right: Tensor | None) -> Tensor:
    """Multiply a factor by its neighbours' products; None stands for the identity."""
    done = factor if left is None else left @ factor
    return done if right is None else done @ right


def _adjoint(matrix: Tensor | None) -> Tensor | None:
    return None if matrix is None else matrix.mH


def _norm(matrix: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(matrix, dim=(-2, -1), keepdim=True)
    return norm


def _fit(matrix: Tensor, product: Tensor) -> Tensor:
    """Compute the scale at which the product is nearest to the matrix; 0 for a product of zero."""
    energy = _norm(product).square()
    return (product.conj() * matrix).sum((-2, -1), keepdim=True) / energy.where(energy > 0, 1.0)
