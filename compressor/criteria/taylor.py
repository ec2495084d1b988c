"""First-order change of the loss if a unit were zeroed."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

from compressor.criteria import AfterBackward, Reads, State, key, weights_times_gradients, zeros
from compressor.surgery import Width

READS: Reads = "backward"
NEEDS_LABELS = True
OWN_ORDER = False
TIMES_WEIGHTS = False
DEGREE = 1


def start(widths: Iterable[Width], seed: int) -> State:
    """Begin with zero for each unit."""
    return zeros(widths)


@contextmanager
def watching(state: State, net: nn.Module, widths: Iterable[Width], *, goal: float) -> Iterator[AfterBackward]:
    """Add |sum w dL/dw| over the weights that read a unit, after each backward pass.

    The sum equals activation x gradient summed over the batch, so no activation needs to be recorded
    (Molchanov et al. 2019, arXiv:1906.10771).
    """
    judged = list(widths)
    yield lambda: _add_(state, net, judged)


def _add_(state: State, net: nn.Module, widths: Sequence[Width]) -> None:
    for width in widths:
        state[key(width)] += weights_times_gradients(net, width, width.consumers).abs()


def scores(state: Mapping[str, Tensor], net: nn.Module, width: Width) -> Tensor:
    """Give the sums."""
    return state[key(width)]
