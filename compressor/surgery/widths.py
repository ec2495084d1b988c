"""Widths: dimensions of a network made of removable units, with every layer that each of them couples."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from compressor.errors import listed

Kind = Literal["neuron", "head", "group", "channel", "dimension", "input"]
Side = Literal["producer", "consumer", "both"]
_CROSSING = ("head_dims", "cross_head_dims", "group_heads", "residual", "embedding")


@dataclass(frozen=True)
class Cut:
    """The entries of one layer, or of a bare tensor, that belong to a width."""

    module: str
    """Path of a layer; or of a parameter or buffer, whose last axis is cut."""
    side: Literal["out", "in"]
    block: int = 1
    """Neighbouring entries per unit."""
    offset: int = 0
    """First entry, in a layer that several widths share."""
    repeat: int = 1
    """The entries are laid out as (repeat, unit, block): the dimensions inside heads repeat with every head."""
    role: Literal["writes", "routes", "scores"] = "writes"
    """What writing means: `routes` only steers where the unit looks, so that zero rows of a query or a key do not make
    a head constant; `scores` are rows of a query or a key that weigh one dimension of all heads, and one of them must
    be zero before that dimension can go."""


@dataclass(frozen=True)
class Width:
    """A dimension of the network made of removable units, with every layer it couples.

    In ``nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))`` the eight hidden neurons are one width: row k of
    layer 0 writes neuron k, column k of layer 2 reads it, and neither can lose it alone.
    """

    name: str
    kind: Kind
    size: int
    producers: tuple[Cut, ...]
    consumers: tuple[Cut, ...]
    carriers: tuple[Cut, ...] = ()
    """What the units pass one by one, on its side `out`: normalisations, depthwise convolutions, scales, indices."""
    exact: bool = True
    """False where the units pass a normalisation over all of them: without some, the others change."""

    def cuts(self, side: Side) -> tuple[Cut, ...]:
        """Layers that write the units, read them, or both; the producers come first."""
        return (self.producers if side != "consumer" else ()) + (self.consumers if side != "producer" else ())

    @property
    def everywhere(self) -> tuple[Cut, ...]:
        """All that shrinks with the width."""
        return self.producers + self.carriers + self.consumers


def select(widths: Sequence[Width], patterns: Sequence[str]) -> list[Width]:
    """Widths whose name matches any of the shell-style patterns, in their own order; a pattern without one raises.

    Widths that cross the units of others are meant only by a pattern that has their last word: `layer.0.*` is the
    heads and the neurons of a layer, not the dimensions that lie across its heads.
    """
    names = [width.name for width in widths]
    for pattern in patterns:
        if not any(_matches(name, pattern) for name in names):
            raise ValueError(f"no width matches {pattern!r}; there are {listed(names, most=12) or 'none'}")
    return [width for width in widths if any(_matches(width.name, pattern) for pattern in patterns)]


def _matches(name: str, pattern: str) -> bool:
    last = name.rpartition(".")[2]
    return fnmatchcase(name, pattern) and (last not in _CROSSING or last in pattern)
