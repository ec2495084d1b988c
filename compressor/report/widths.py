"""Widths as the report shows them: the only place that takes their names apart."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from compressor.report.document import WidthChange

NUMBERED = re.compile(r"^(.*?\b(?:layers?|h|blocks?)\.)(\d+)(\..*)$")  # layer.0.ffn, model.decoder.layers.3.fc1.ffn


class WidthName(NamedTuple):
    """Name of a width in two parts."""

    layer: str
    """The layer that it belongs to; empty if it belongs to none."""
    what: str
    """What its units are: heads, ffn, channels."""

    @property
    def is_of_numbered_layer(self) -> bool:
        """Whether the layer is one of several that can be removed whole."""
        return self.layer.rpartition(".")[2].isdigit()


@dataclass(frozen=True)
class Lane:
    """One width of a layer as a bar; lengths are fractions of the widest of its kind."""

    kind: str
    before: int
    after: int
    ghost: float
    full: float
    is_removed: bool


@dataclass(frozen=True)
class Layer:
    """The bars of one layer."""

    name: str
    lanes: list[Lane]


def split(name: str) -> WidthName:
    """Take the name of a width apart.

    Examples
    --------
    >>> split("encoder.layer.3.heads"), split("vocabulary")
    (WidthName(layer='encoder.layer.3', what='heads'), WidthName(layer='', what='vocabulary'))
    """
    layer, _, what = name.rpartition(".")
    return WidthName(layer, what)


def original_name(name: str, kept_layers: Sequence[int]) -> str:
    """Undo the renumbering of layers.

    Examples
    --------
    >>> original_name("layer.1.ffn", [0, 2, 5])
    'layer.2.ffn'
    """
    match = NUMBERED.match(name)
    if match is None or list(kept_layers) == list(range(len(kept_layers))):
        return name  # nothing was renumbered; the numbers of a traced name may be those of other lists
    return f"{match[1]}{kept_layers[int(match[2])]}{match[3]}"


def layers(changes: Sequence[WidthChange]) -> list[Layer]:
    """Group widths by layer, and scale each against the widest of its kind; kinds that lost nothing are left out."""
    lost = {
        split(change["name"]).what
        for change in changes
        if not change["is_removed"] and change["n_units"] < change["n_units_original"]
    }
    shown = [change for change in changes if split(change["name"]).what in lost] or changes
    widest: dict[str, int] = {}
    for change in shown:
        what = split(change["name"]).what
        widest[what] = max(widest.get(what, 1), change["n_units_original"])
    lanes: dict[str, list[Lane]] = {}
    for change in shown:
        layer, what = split(change["name"])
        before, after = change["n_units_original"], change["n_units"]
        lane = Lane(what, before, after, before / widest[what], after / widest[what], change["is_removed"])
        lanes.setdefault(layer or what, []).append(lane)
    return [Layer(name, lanes_) for name, lanes_ in lanes.items()]
