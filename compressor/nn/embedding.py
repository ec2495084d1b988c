"""An embedding whose table is the product of a narrow table and a matrix."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from compressor.factorizations import Equation, Factors

EQUATION = Equation((("ir", "rj"),), ("i", "j"))


class FactorizedEmbedding(nn.Module):
    """A table of embeddings of low rank: a row of the narrow table is looked up, then multiplied by a matrix.

    ``weight`` is the narrow table, shape (num_embeddings, rank), and ``projection`` the matrix, shape (embedding_dim,
    rank).
    """

    def __init__(self, method: str, n_rows: int, rank: int, n_columns: int, padding_idx: int | None = None) -> None:
        super().__init__()
        self.method, self.padding_idx = method, padding_idx
        self.weight = nn.Parameter(torch.empty(n_rows, rank))
        self.projection = nn.Parameter(torch.empty(n_columns, rank))

    @classmethod
    def of(cls, method: str, factors: Factors, padding_idx: int | None = None) -> "FactorizedEmbedding":
        """Make the embedding of two factors, shapes (n_rows, rank) and (rank, n_columns); they are copied."""
        table, matrix = factors
        layer = cls(method, table.shape[0], table.shape[1], matrix.shape[1], padding_idx)
        layer.weight.data, layer.projection.data = table.clone(), matrix.T.contiguous()
        return layer

    def axes(self, side: str) -> dict[str, int]:
        """Axis of each tensor that indexes the entries of an embedding; nothing can be cut on the side of the rows."""
        return {"projection": 0} if side == "out" else {}

    def factors(self) -> Factors:
        """Give the narrow table and the matrix; views of the parameters."""
        return self.weight, self.projection.T

    @property
    def equation(self) -> Equation:
        """How the factors form the table."""
        return EQUATION

    @property
    def num_embeddings(self) -> int:
        """Number of rows."""
        return self.weight.shape[0]

    @property
    def embedding_dim(self) -> int:
        """Number of entries of an embedding."""
        return self.projection.shape[0]

    @torch.no_grad()
    def fold(self) -> nn.Embedding:
        """Make the plain table."""
        layer = nn.Embedding(self.num_embeddings, self.embedding_dim, padding_idx=self.padding_idx, device="meta")
        layer.weight = nn.Parameter(self.weight @ self.projection.T)
        return layer.train(self.training)

    def spec(self) -> dict[str, Any]:
        """Describe the layer in words of JSON, from which `from_spec` builds it without its values."""
        sizes = {"i": self.num_embeddings, "r": self.weight.shape[1], "j": self.embedding_dim}
        return {"kind": "embedding", "method": self.method, "sizes": sizes, "padding_idx": self.padding_idx}

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> "FactorizedEmbedding":
        """Build the layer that a description is of."""
        sizes = spec["sizes"]
        return cls(spec["method"], sizes["i"], sizes["r"], sizes["j"], spec["padding_idx"])

    def forward(self, indices: Tensor) -> Tensor:
        """Look up embeddings."""
        rows = functional.embedding(indices, self.weight, self.padding_idx)
        return functional.linear(rows, self.projection)

    def extra_repr(self) -> str:
        """Name the method and the sizes."""
        return f"{self.method}, {self.num_embeddings}, {self.weight.shape[1]}, {self.embedding_dim}"
