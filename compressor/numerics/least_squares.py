"""Linear maps that answer as they should: ridge regression towards the weights that they have."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Sums:
    """Sums over vectors that a linear map reads, and over the answers that it should give; all float64."""

    n_vectors: int
    read: Tensor
    """Of the vectors, shape (n_read,)."""
    answered: Tensor
    """Of the answers, shape (n_outputs,)."""
    products: Tensor
    """Of x x^T, shape (n_read, n_read)."""
    crossed: Tensor
    """Of x t^T, shape (n_read, n_outputs)."""

    @classmethod
    def none(cls, n_read: int, n_outputs: int) -> "Sums":
        """Begin with sums over nothing."""
        sizes = ((n_read,), (n_outputs,), (n_read, n_read), (n_read, n_outputs))
        return cls(0, *(torch.zeros(size, dtype=torch.float64) for size in sizes))

    def add_(self, vectors: Tensor, answers: Tensor) -> None:
        """Add the rows of two matrices; products of float32 are made in float32."""
        self.n_vectors += len(vectors)
        self.read += vectors.sum(dim=0, dtype=torch.float64)
        self.answered += answers.sum(dim=0, dtype=torch.float64)
        self.products += vectors.T @ vectors
        self.crossed += vectors.T @ answers

    def means(self) -> tuple[Tensor, Tensor]:
        """Mean vector and mean answer."""
        n_vectors = max(self.n_vectors, 1)
        return self.read / n_vectors, self.answered / n_vectors


def refit(sums: Sums, weights: Tensor, has_bias: bool, damping: float) -> tuple[Tensor, Tensor]:
    """Solve for the weights and the bias of a map, so that its answers come near to those that it should give.

    Minimises the squared error plus ``damping`` times the mean diagonal of the products times the squared distance of
    the weights from those given: so the error never grows, if the bias is the best one for the given weights or there
    is none.

    Parameters
    ----------
    sums : Sums
        Over the vectors and the answers.
    weights : Tensor, shape (n_read, n_outputs)
        Where the solution is drawn to.
    has_bias : bool
        Whether a bias is solved for too.
    damping : float, > 0
        Share of the mean diagonal.

    Returns
    -------
    tuple of Tensor
        Weights, float64; bias, shape (n_outputs,), zero if there is none.

    Notes
    -----
    Time O(n_read^3 + n_read^2 n_outputs).

    Examples
    --------
    >>> rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> sums = Sums.none(2, 1)
    >>> sums.add_(rows, rows @ torch.tensor([[2.0], [3.0]]) + 1)
    >>> weights, bias = refit(sums, torch.ones(2, 1), has_bias=True, damping=1e-12)
    >>> weights.flatten().round(decimals=3).tolist(), bias.round(decimals=3).tolist()
    ([2.0, 3.0], [1.0])
    """
    read, answered = sums.means()
    products, crossed = sums.products, sums.crossed
    if has_bias:
        products = products - sums.n_vectors * torch.outer(read, read)
        crossed = crossed - sums.n_vectors * torch.outer(read, answered)
    solved = weights.double()
    solved = solved + correction(products, crossed - products @ solved, damping)
    bias = answered - read @ solved if has_bias else torch.zeros_like(answered)
    return solved, bias


def correction(products: Tensor, missing: Tensor, damping: float) -> Tensor:
    """Solve for what must be added to the weights so that the answers correlate with the inputs as they should.

    ``missing``, shape (n_read, n_outputs), is x e^T summed over the errors e of the answers, as ``products`` is x x^T.
    """
    level = float(products.diagonal().mean()) if len(products) else 0.0
    if level <= 0:
        return torch.zeros_like(missing)
    damped = products + damping * level * torch.eye(len(products), dtype=products.dtype)
    return torch.cholesky_solve(missing, torch.linalg.cholesky(damped))
