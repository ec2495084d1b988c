"""Random scores: what any other criterion must beat."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from compressor.criteria import AfterBackward, Reads, State, key
from compressor.surgery import Width

READS: Reads = "weights"
NEEDS_LABELS = False
OWN_ORDER = False
TIMES_WEIGHTS = False
DEGREE = 1


def start(widths: Iterable[Width], seed: int) -> State:
    """Draw the scores."""
    generator = torch.Generator().manual_seed(seed)
    return {key(width): torch.rand(width.size, generator=generator, dtype=torch.float64) for width in widths}


@contextmanager
def watching(state: State, net: nn.Module, widths: Iterable[Width], *, goal: float) -> Iterator[AfterBackward]:
    """Collect nothing."""
    yield lambda: None


def scores(state: Mapping[str, Tensor], net: nn.Module, width: Width) -> Tensor:
    """Give what was drawn."""
    return state[key(width)]
