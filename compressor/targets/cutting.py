"""Copies of a network with fewer units, whose weights do not matter: what they cost does not depend on them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from compressor import surgery
from compressor.model import Model
from compressor.surgery import Width
from compressor.surgery.twin import twin

SHARES = (1 / 2, 1 / 12)  # of the units, left in every width of a group in the copies that are measured
N_LEVELS = 48  # of one width, at most


def cut_copy(model: Model, counts: Mapping[str, int], empty_on: str | None = None) -> Model:
    """Copy a network with the first units of each width; uncut weights are shared, or empty on a device."""
    net = twin(model.net, empty_on)
    surgery.resize_(net, model.arch, counts)
    return replace(model, net=net)


def groups(widths: Sequence[Width]) -> dict[str, list[Width]]:
    """Put widths of the same units together, whose costs have the same shape: the heads of all layers, for example."""
    found: dict[str, list[Width]] = {}
    for width in widths:
        found.setdefault(width.what, []).append(width)
    return found


def uniform(widths: Sequence[Width], floors: Mapping[str, int]) -> list[dict[str, int]]:
    """List the copies to measure: in each, all widths of one group have the same share of their units."""
    copies = []
    for group in groups(widths).values():
        for share in SHARES:
            counts = {width.name: max(1, floors[width.name], round(share * width.size)) for width in group}
            if counts not in copies and any(counts[width.name] < width.size for width in group):
                copies.append(counts)
    return copies


def levels(width: Width, floor: int) -> list[int]:
    """List numbers of units between a floor and the size of a width, evenly spread, both included."""
    n_steps = min(width.size - floor, N_LEVELS - 1)  # none if the width cannot be cut
    return [floor + round(step * (width.size - floor) / n_steps) for step in range(n_steps)] + [width.size]
