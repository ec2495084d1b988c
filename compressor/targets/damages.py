"""How much a width suffers with fewer units, where no criterion measures it."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from compressor.surgery import Width
from compressor.targets.cutting import levels
from compressor.targets.solving import Damages


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
    damages = {}
    for width in widths:
        squares = scores[width.name].double().square().sort().values
        lost = (squares.cumsum(0) / squares.sum().clamp(min=1e-30)).tolist()
        damages[width.name] = {
            n_units: lost[width.size - n_units - 1] if n_units < width.size else 0.0
            for n_units in levels(width, floors[width.name])
        }
    return damages
