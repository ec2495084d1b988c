"""Growth of the error of what the consumers compute, where the weights of the units that are left make up for it."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn

from compressor.criteria import AfterBackward, Reads, State
from compressor.numerics.optimal_brain import Problem, removal_costs
from compressor.surgery import Width, readers

READS: Reads = "forward"
NEEDS_LABELS = False
OWN_ORDER = True
TIMES_WEIGHTS = False
DEGREE = 2
DAMPING = 0.01  # of the mean diagonal


def start(widths: Iterable[Width], seed: int) -> State:
    """Begin with nothing: the layers that read the widths are seen when they are called."""
    return {}


@contextmanager
def watching(state: State, net: nn.Module, widths: Iterable[Width], *, goal: float) -> Iterator[AfterBackward]:
    """Sum up x x^T over the vectors that the consumers read."""
    names = readers.names(widths)
    for name, zeros in readers.no_moments(net, names).items():
        state.setdefault(name, zeros)
    with readers.adding_moments(state, net, names):
        yield lambda: None


def scores(state: Mapping[str, Tensor], net: nn.Module, width: Width) -> Tensor:
    """Give what each unit costs when it is removed after those with lower scores.

    The error is that of the consumers' outputs, and after each removal the weights of the units that are left are the
    best ones (optimal brain surgeon, with one unit or head for one weight).

    References
    ----------
    .. [1] E. Kurtic, E. Frantar, D. Alistarh, "ZipLM: inference-aware structured pruning of language models", 2023,
       arXiv:2302.04089.
    """
    problems = []
    for cut in width.consumers:
        layer = net.get_submodule(cut.module)
        _, products = readers.moments_of(state, net, cut.module)
        problems.append(Problem(readers.matrix_of(layer), products, readers.units_of(net, width, cut)))
    return removal_costs(problems, DAMPING)
