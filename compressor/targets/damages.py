"""How much a width suffers with fewer units, where no criterion measures it."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from compressor.surgery import Width
from compressor.targets.cutting import levels
from compressor.targets.solving import Damages

TINY = 1e-30


def of_scores(widths: Sequence[Width], scores: Mapping[str, Tensor], floors: Mapping[str, int]) -> Damages:
    """Give at each level the share of a width's squared scores that lies in the units which go, the lowest first.

    Squares behave like a loss: the damage of removing several units adds up, and it may be weighed against what the
    units of other widths cost.

    Parameters
    ----------
    widths : sequence of Width
        The widths that may be cut.
    scores : mapping of Tensor, shape (width.size,)
        By name, such as the norms of the columns.
    floors : mapping of int
        By name, the least number of units.

    Returns
    -------
    dict of dict of float
        By name, and by number of units left.
    """
    found = {}
    for width in widths:
        squares = scores[width.name].double().square()
        found[width.name] = _summed(width, squares / squares.sum().clamp(min=TINY), floors[width.name])
    return found


def of_losses(widths: Sequence[Width], losses: Mapping[str, Tensor]) -> Damages:
    """Add up at each level what the loss grows by without each of the units that go, the least first."""
    return {width.name: _summed(width, losses[width.name].double(), 1) for width in widths}


def even(widths: Sequence[Width]) -> Damages:
    """Let every width suffer alike, so that each keeps about the same share of its units."""
    return {width.name: {n: (1 - n / width.size) ** 2 for n in levels(width, 1)} for width in widths}


def _summed(width: Width, amounts: Tensor, floor: int) -> dict[int, float]:
    """Sum up at each level the amounts of the units that go, the least first."""
    lost = [0.0, *amounts.sort().values.cumsum(0).tolist()]
    return {n_units: lost[width.size - n_units] for n_units in levels(width, floor)}
