"""Movement of the weights of a unit in training: away from zero is important, towards zero is not."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

from compressor.criteria import AfterBackward, Reads, State, key, weights_times_gradients, zeros
from compressor.surgery import Width

READS: Reads = "training"
NEEDS_LABELS = False
OWN_ORDER = False
TIMES_WEIGHTS = False
DEGREE = 1


def start(widths: Iterable[Width], seed: int) -> State:
    """Begin with zero for each unit."""
    return zeros(widths)


@contextmanager
def watching(state: State, net: nn.Module, widths: Iterable[Width], *, goal: float) -> Iterator[AfterBackward]:
    """Add -sum w dL/dw over all weights that write or read a unit, after each backward pass.

    A step of gradient descent changes sum w^2 / 2 by this, times the learning rate.

    References
    ----------
    .. [1] V. Sanh, T. Wolf, A. Rush, "Movement pruning: adaptive sparsity by fine-tuning", 2020, arXiv:2005.07683,
       equation 5.
    """
    judged = list(widths)
    yield lambda: _add_(state, net, judged)


def _add_(state: State, net: nn.Module, widths: Sequence[Width]) -> None:
    for width in widths:
        state[key(width)] -= weights_times_gradients(net, width, width.cuts("both"))


def scores(state: Mapping[str, Tensor], net: nn.Module, width: Width) -> Tensor:
    """Give how much farther from zero a unit moved than the one of all widths that moved least."""
    least = min(float(sums.min()) for name, sums in state.items() if name.startswith("importance."))
    return state[key(width)] - least
