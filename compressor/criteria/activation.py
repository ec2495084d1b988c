"""Mean magnitude of the output of a unit, times the norm of its weights."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn

from compressor.criteria import AfterBackward, Reads, State, key, zeros
from compressor.surgery import Cut, Width, layers

READS: Reads = "forward"
NEEDS_LABELS = False
OWN_ORDER = False
TIMES_WEIGHTS = True
DEGREE = 1


def start(widths: Iterable[Width], seed: int) -> State:
    """Begin with zero for each unit."""
    return zeros(widths)


@contextmanager
def watching(state: State, net: nn.Module, widths: Iterable[Width], *, goal: float) -> Iterator[AfterBackward]:
    """Add the mean magnitude of each unit's output, as its first consumer reads it, in each forward pass."""
    handles = []
    for width in widths:
        cut = width.consumers[0]

        def hook(module: nn.Module, inputs: tuple[Tensor, ...], width: Width = width, cut: Cut = cut) -> None:
            per_entry = inputs[0].detach().abs().movedim(layers.unit_axis(module), 0).flatten(1).double().mean(dim=1)
            state[key(width)] += layers.by_unit(per_entry, width, cut).flatten(1).mean(dim=1).cpu()

        handles.append(net.get_submodule(cut.module).register_forward_pre_hook(hook))
    try:
        yield lambda: None
    finally:
        for handle in handles:
            handle.remove()


def scores(state: Mapping[str, Tensor], net: nn.Module, width: Width) -> Tensor:
    """Give the sums."""
    return state[key(width)]
