"""Widths: dimensions of a network made of removable units, each with all layers that it couples."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, Protocol

from torch import nn

from compressor.errors import listed

Kind = Literal["neuron", "head", "group", "channel", "dimension", "input"]
Side = Literal["producer", "consumer", "both"]
USUAL = ("*.ffn", "*.heads", "*.channels")  # patterns of the widths that a stage cuts unless told otherwise


@dataclass(frozen=True)
class Cut:
    """The entries of one layer, or of a bare tensor, that belong to a width."""

    module: str
    """Path of a layer, or of a parameter or buffer that is cut along its last axis."""
    side: Literal["out", "in"]
    block: int = 1
    """Adjacent entries per unit."""
    offset: int = 0
    """Index of the first entry, in a layer that several widths share."""
    repeat: int = 1
    """The entries are laid out as (repeat, unit, block): the dimensions inside heads repeat with every head."""
    role: Literal["writes", "routes", "scores"] = "writes"
    """How a producer acts on the units. `writes`: it computes their values; `routes`: it only determines the positions
    that a head attends to, so that zero rows of a query or a key do not make the head constant; `scores`: rows of a
    query or a key that weigh one dimension of all heads, which can be removed only if they are zero in one of the
    two."""


@dataclass(frozen=True)
class Width:
    """A dimension of the network made of removable units, with all layers that it couples.

    In ``nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))`` the eight hidden neurons are one width: row k of
    layer 0 writes neuron k, column k of layer 2 reads it, and neither can lose it alone.
    """

    name: str
    """Unique in the network: `layer`, a dot and `what`; or `what` alone."""
    kind: Kind
    size: int
    producers: tuple[Cut, ...]
    consumers: tuple[Cut, ...]
    carriers: tuple[Cut, ...] = ()
    """Layers that pass each unit on by itself, all on side `out`: normalisations, depthwise convolutions, scales,
    indices."""
    exact: bool = True
    """False if a normalisation runs over all the units: removing some changes the others."""
    layer: str = ""
    """The part of the network that the width belongs to, such as ``layer.3``; empty if to the whole network."""
    crosses: bool = False
    """Whether the units share weights with those of other widths, as a dimension of all heads does: such units are not
    counted twice, and `select` takes the width only if it is named."""

    def __post_init__(self) -> None:
        if self.layer and not self.name.startswith(f"{self.layer}."):
            raise ValueError(f"{self.name}: a width of {self.layer!r} must be named {self.layer}.<what>")

    @property
    def what(self) -> str:
        """Name of the units within their layer: ``ffn``, ``heads``, ``residual`` and so on."""
        return self.name.removeprefix(f"{self.layer}.") if self.layer else self.name

    def cuts(self, side: Side) -> tuple[Cut, ...]:
        """Layers that write the units, read them, or both; the producers come first."""
        return (self.producers if side != "consumer" else ()) + (self.consumers if side != "producer" else ())

    @property
    def everywhere(self) -> tuple[Cut, ...]:
        """All cuts that shrink with the width."""
        return self.producers + self.carriers + self.consumers


class Family(Protocol):
    """The functions that surgery needs from a file in `compressor.archs`."""

    def widths(self, net: nn.Module) -> list[Width]:
        """Every width that can be cut, at its current size, in an order that does not depend on the sizes."""

    def resized_(self, net: nn.Module, width: Width, n_units: int) -> None:
        """Update the numbers that the network's own code keeps, such as a head count, after a cut to ``n_units``.

        ``width`` describes the network before the cut. Layers of torch are already updated.
        """


def select(widths: Sequence[Width], patterns: Sequence[str]) -> list[Width]:
    """Widths whose name matches any of the shell-style patterns, in their own order; a pattern without a match raises.

    A width that crosses others matches only a pattern that contains its `what`: ``layer.0.*`` selects the heads and the
    neurons of a layer, but not the dimensions of all its heads.
    """
    for pattern in patterns:
        if not is_match(widths, pattern):
            names = listed([width.name for width in widths], most=12)
            raise ValueError(f"no width matches {pattern!r}; there are {names or 'none'}")
    return [width for width in widths if any(_matches(width, pattern) for pattern in patterns)]


def select_usual(widths: Sequence[Width], patterns: Sequence[str] | None) -> list[Width]:
    """Select widths; patterns that someone wrote must all match, of the usual ones those that do are taken."""
    if patterns is None:
        patterns = [pattern for pattern in USUAL if is_match(widths, pattern)] or USUAL
    return select(widths, patterns)


def is_match(widths: Sequence[Width], pattern: str) -> bool:
    """Whether a pattern selects any of the widths."""
    return any(_matches(width, pattern) for width in widths)


def _matches(width: Width, pattern: str) -> bool:
    return fnmatchcase(width.name, pattern) and (not width.crosses or width.what in pattern)
