"""Which entries of the tensors in a traced graph can only be removed together, and which must stay."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch.fx import Node

from compressor.surgery.tracing.nodes import shape_of

Dim = tuple[Node, int]
"""A tensor of the graph, and one of its axes."""
Entries = NDArray[np.int64]
"""Ids of entries along axes, unique in the whole graph."""


class Links:
    """Entries of all axes of all tensors, linked in pairs if one cannot be removed without the other.

    Channel 3 of a convolution's output is linked with row 3 of its weight, with entry 3 of the batch norm that
    follows, and after a concatenation with entry ``offset + 3`` of the joined parts.
    """

    def __init__(self) -> None:
        self._first: dict[Dim, int] = {}
        self._n_entries = 0
        self._pairs: list[tuple[Entries, Entries]] = []
        self._fixed: list[tuple[Entries, str]] = []
        self._normalised: list[Entries] = []

    def entries(self, node: Node, axis: int) -> Entries:
        """Return the ids of the entries along an axis of a tensor."""
        size = shape_of(node)[axis]
        if (node, axis) not in self._first:
            self._first[node, axis] = self._n_entries
            self._n_entries += size
        first = self._first[node, axis]
        return np.arange(first, first + size)

    def link(self, one: Entries, other: Entries) -> None:
        """Link entries pair by pair; shapes are broadcast."""
        one, other = np.broadcast_arrays(one, other)
        self._pairs.append((one.ravel(), other.ravel()))

    def unify(self, *dims: Dim) -> None:
        """Link equally long axes entry by entry."""
        for one, other in pairwise(dims):
            self.link(self.entries(*one), self.entries(*other))

    def fix(self, reason: str, node: Node, *axes: int) -> None:
        """Fix the size of axes of a tensor, all by default."""
        for axis in axes or range(len(shape_of(node))):
            self._fixed.append((self.entries(node, axis), reason))

    def normalise(self, node: Node, axis: int) -> None:
        """Record that the entries along an axis are normalised over: removing some changes the others."""
        self._normalised.append(self.entries(node, axis))

    def units(self) -> Entries:
        """Return the number of each entry's unit: entries that are linked, directly or through others, share one."""
        nothing = np.zeros(0, np.int64)
        one, other = (np.concatenate([nothing, *(pair[side] for pair in self._pairs)]) for side in (0, 1))
        graph = coo_array((np.ones(len(one), bool), (one, other)), shape=(self._n_entries,) * 2)
        units: Entries = connected_components(graph, directed=False)[1].astype(np.int64)
        return units

    def reasons(self, units: Entries) -> dict[int, str]:
        """Return the reasons why units must stay; of several, the first in the graph."""
        first: dict[int, str] = {}
        for entries, reason in self._fixed:
            for unit in np.unique(units[entries]).tolist():
                first.setdefault(unit, reason)
        return first

    def inexact(self, units: Entries) -> set[int]:
        """Collect the units that are normalised over."""
        return {unit for entries in self._normalised for unit in np.unique(units[entries]).tolist()}
